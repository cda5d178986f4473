"""Starts Ray and Serve on this machine with a Serve config file, and stops all of it again.

Import it after `environment.prepare()`: Ray reads its environment when it is imported.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.serve._private.api import serve_start
from ray.serve._private.client import ServeControllerClient
from ray.serve.context import _get_global_client
from ray.serve.schema import LoggingConfig, ServeDeploySchema

from serve_app.deployments import environment
from serve_app.settings import Settings

READY_TIMEOUT_S = 120.0
DRAIN_MORE_S = 5.0
OBJECT_STORE_BYTES = 512 * 1024**2


class StartError(RuntimeError):
    """The service did not come up; the message says why and what to do."""


def load_config(
    path: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    settings: dict[str, Any] | None = None,
    json_logs: bool = False,
) -> ServeDeploySchema:
    """A Serve config file, with the address, the settings and the form of logs given here put over its own; folders become absolute.

    Raises ValueError that names the file and what is wrong in it.
    """
    try:
        config = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
        if not config.applications:
            raise ValueError("`applications` is empty")
        http = config.http_options.model_dump() | {key: value for key, value in (("host", host), ("port", port)) if value is not None}
        config.http_options = type(config.http_options).model_validate(http)
        if json_logs:
            config.logging_config = LoggingConfig.model_validate(
                {**(config.logging_config or LoggingConfig()).model_dump(), "encoding": "JSON"}
            )
        for application in config.applications:
            merged = Settings.model_validate({**application.args, **(settings or {})})
            application.args = merged.absolute(Path.cwd()).model_dump(mode="json")
            for deployment in application.deployments:
                if isinstance(deployment.user_config, dict):
                    merged.changed(deployment.name, deployment.user_config)
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error
    return config


def settings_of(config: ServeDeploySchema) -> Settings:
    """The settings of the (first) application."""
    return Settings.model_validate(config.applications[0].args)


def base_url(config: ServeDeploySchema) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.http_options.host, config.http_options.host)
    return f"http://[{host}]:{config.http_options.port}" if ":" in host else f"http://{host}:{config.http_options.port}"


@contextlib.contextmanager
def local_cluster(folder: Path, metrics_port: int | None = None) -> Iterator[None]:
    """Ray on this machine's loopback; sockets, logs and spilled objects in `folder` (short: Ray allows 107 bytes a path).

    metrics_port: where Prometheus finds the metrics of all processes, on loopback too; None: on a free port.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        with _quiet():
            ray.init(
                address="local",  # never somebody else's cluster
                namespace="serve",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
                _metrics_export_port=metrics_port,
            )
        # It reads all log files again and again for drivers that print them, which this one does not: 2 % of a core, 50 MB.
        ray._private.worker._global_node.kill_log_monitor()  # type: ignore[attr-defined]  # None until init
        yield
    finally:
        with _quiet():
            ray.shutdown()


class Unfinished(StartError):
    """What was asked for was accepted and is being done still; the message says what it waits for."""


@contextlib.contextmanager
def running(config: ServeDeploySchema) -> Iterator[Callable[[ServeDeploySchema], None]]:
    """The applications of `config`, answering; stopped at the end. Needs a cluster. What it yields is `deploy`, for another config to take
    this one's place; the last one that was accepted is drained. Raises StartError.
    """
    refuse_occupied(config)
    latest = config

    def replace(other: ServeDeploySchema) -> None:
        nonlocal latest
        _accept(other)
        latest = other
        _wait(other)

    try:
        start(config)
        try:
            yield replace
        finally:
            _drain(latest)
    finally:
        with _quiet():
            serve.shutdown()  # type: ignore[no-untyped-call]  # Ray has no annotation there


def start(config: ServeDeploySchema) -> None:
    """Serve on the cluster, and the applications of `config` on it, answering. Raises StartError."""
    with _quiet():
        serve_start(
            http_options=config.http_options.model_dump(),
            proxy_location=config.proxy_location,
            global_logging_config=config.logging_config,
            global_tracing_config=config.tracing_config,
        )
    deploy(config)
    _ask_health(config)


def deploy(config: ServeDeploySchema) -> None:
    """What runs becomes what `config` says, replica by replica where replicas have to be new; returns when it is so. Raises Unfinished."""
    _accept(config)
    _wait(config)


def _accept(config: ServeDeploySchema) -> None:
    with _quiet():
        _client().deploy_apps(config, _blocking=False)


def _wait(config: ServeDeploySchema) -> None:
    with _quiet():
        _wait_until_running({application.name for application in config.applications})
        _client().wait_for_proxies_serving()


def _client() -> ServeControllerClient:
    client = _get_global_client()
    assert client is not None  # it raises where there is none
    return client


def _drain(config: ServeDeploySchema) -> None:
    """Before the models are gone that running tasks need: Serve stops all deployments at once."""
    for application in config.applications:
        drain_s = Settings.model_validate(application.args).pipeline.drain_s
        with contextlib.suppress(Exception):  # no pipeline is there, or none answers: leases run out by themselves
            serve.get_deployment_handle("SwapPipeline", application.name).broadcast("drain").results(timeout_s=drain_s + DRAIN_MORE_S)


def refuse_haproxy(config: ServeDeploySchema) -> None:
    """Raises StartError where HAProxy cannot stand before this service: Ray tells that by a timeout."""
    http, command = config.http_options, os.environ[environment.BINARY]
    if http.host not in ("127.0.0.1", "localhost", "0.0.0.0"):
        raise StartError(f"--haproxy: it reaches the service on 127.0.0.1, which {http.host} leaves out; use --host 127.0.0.1 or 0.0.0.0")
    if http.ssl_keyfile:
        raise StartError("--haproxy: Ray's HAProxy speaks no TLS; take ssl_keyfile out of http_options and put TLS before the service")
    if not os.access(command, os.X_OK):
        raise StartError(f"--haproxy: {command} is not there; install the package again")


def refuse_occupied(config: ServeDeploySchema) -> None:
    """Raises StartError when something listens on the port already: better than after a whole start."""
    refuse_taken(config.http_options.host, config.http_options.port, "PORT= or --port")


def refuse_taken(host: str, port: int, option: str) -> None:
    """Raises StartError when something listens there; `option` chooses another port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(f"cannot listen on {host}:{port}: {error.strerror}; choose another with {option}") from error


def _wait_until_running(names: set[str]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        applications = {name: app for name, app in serve.status().applications.items() if name in names}
        if len(applications) == len(names) and all(app.status == "RUNNING" for app in applications.values()):
            return
        unhealthy = [
            f"{deployment}: {status.status} {status.message}"
            for app in applications.values()
            for deployment, status in app.deployments.items()
            if status.status != "HEALTHY"
        ]
        if any(app.status in ("DEPLOY_FAILED", "UNHEALTHY") for app in applications.values()):
            raise Unfinished("\n".join([app.message for app in applications.values()] + unhealthy))
        if time.monotonic() > deadline:
            raise Unfinished(f"not ready after {READY_TIMEOUT_S:.0f} s\n" + "\n".join(unhealthy))
        time.sleep(0.1)


def _ask_health(config: ServeDeploySchema) -> None:
    """One real answer over HTTP, models included, before anybody is told that the service is ready. Models at zero replicas are started."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine needs no proxy to reach itself
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            with direct.open(base_url(config) + "/health", timeout=READY_TIMEOUT_S) as answer:
                health = json.load(answer)
        except (OSError, ValueError) as error:
            raise StartError(f"the service does not answer on {base_url(config)}: {error}") from error
        if health.get("status") == "ok":
            return
        if time.monotonic() > deadline:
            raise StartError(f"the service answers, but {health.get('status')}")
        time.sleep(0.5)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray writes progress and harmless retries to our stdout; its logs have them too."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
