"""The `faceswap` command: `serve`, and what is printed; the other commands have a module each."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve_app.cli.config import app as config
from serve_app.cli.hooks import app as hooks
from serve_app.cli.keys import app as keys
from serve_app.cli.models import app as models
from serve_app.cli.models import prepare_builtin
from serve_app.cli.options import DEFAULT_CONFIG
from serve_app.cli.settings_page import settings_page
from serve_app.cli.store import app as store
from serve_app.deployments import environment, wakeups
from serve_app.deployments.supervisor import Stop, stop_on_signal, supervise, wait_for_stop
from serve_app.deployments.unfit import refuse_unfit
from serve_app.engines import runtimes
from serve_app.families import resolve
from serve_app.metrics import metrics_page
from serve_app.secrets import Secrets

if TYPE_CHECKING:
    from ray.serve.schema import ServeDeploySchema

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Face swapping behind the Midjourney-Proxy HTTP contract, on Ray Serve.",
)
app.add_typer(models, name="models")
app.add_typer(keys, name="key")
app.add_typer(store, name="store")
app.add_typer(hooks, name="hooks")
app.add_typer(config, name="config")

READY = """
faceswap-serve is ready on {base} (family {family}); Ctrl-C stops it. Try it with two photographs:

  printf '{{"sourceBase64":"%s","targetBase64":"%s"}}' "$(base64 -w0 face.jpg)" "$(base64 -w0 photo.jpg)" |
    curl -s {base}/mj/insight-face/swap -H 'Content-Type: application/json'{header} -d @-
  curl -s {base}/mj/task/ID/fetch{header}          # ID: the "result" of the answer; open its imageUrl when status is SUCCESS
"""
HEADER = ' -H "mj-api-secret: YOUR_KEY"'


@app.command()
def serve(
    config: Annotated[Path, typer.Option(help="Serve config file", exists=True, dir_okay=False)] = DEFAULT_CONFIG,
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of the file's")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on, instead of the file's")] = None,
    family: Annotated[str | None, typer.Option(help="Model family, instead of the file's")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for tasks and pictures, instead of the file's")] = None,
    metrics_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port for Prometheus, on loopback; else a free one")] = None,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Logs in JSON, whatever the file says")] = False,
    haproxy: Annotated[bool, typer.Option("--haproxy", help="HAProxy in place of Ray's proxy: faster, see docs/operations.md")] = False,
) -> None:
    """Start everything on this machine; Ctrl-C stops it all again, and SIGUSR1 has the config file read again."""
    raise typer.Exit(supervise(lambda folder: _serve(folder, config, host, port, family, data, metrics_port, json_logs, haproxy)))


def _serve(
    folder: Path,
    config: Path,
    host: str | None,
    port: int | None,
    family: str | None,
    data: Path | None,
    metrics_port: int | None,
    json_logs: bool,
    haproxy: bool,
) -> int:
    environment.prepare(folder if haproxy else None)
    wakeups.wake_without_interrupting()
    from serve_app.deployments import access, cluster  # Ray reads the environment when it is imported

    overrides = {key: value for key, value in (("family", family), ("data_dir", data)) if value is not None}

    def read() -> ServeDeploySchema:
        document = cluster.load_config(config, host=host, port=port, settings=overrides, json_logs=json_logs)
        settings = resolve(cluster.settings_of(document))
        access.refuse_open(document.http_options.host, settings, Secrets())
        outward = access.outward(document.http_options.host, settings)
        if outward != settings:
            _say("egress.allow_private: loopback is left out, for others can reach this address")
            document.applications[0].args["egress"] = outward.egress.model_dump(mode="json")
        return document

    def again(replace: Callable[[ServeDeploySchema], None]) -> None:
        try:
            replace(read())
        except cluster.Unfinished as error:
            _say(f"the config file was taken, but is not in force everywhere yet: {error}")
        except (ValueError, RuntimeError) as error:
            _say(f"the config file is not taken: {error}")
        else:
            _say("the config file holds")

    try:
        runtimes.check_twins()
        document, secrets = read(), Secrets()
        settings = resolve(cluster.settings_of(document))
        if haproxy:
            cluster.refuse_haproxy(document)
        cluster.refuse_occupied(document)
        if secrets.blobs_url is not None:
            refuse_unfit(secrets.blobs_url)  # build() does it as well, where the reason stands below a page of Ray's
        if settings.family == "builtin":
            prepare_builtin(settings.models_dir / "builtin")
        _say("starting Ray Serve (about 15 s) ...")
        if metrics_port is not None:
            cluster.refuse_taken("127.0.0.1", metrics_port, "--metrics-port")
        with cluster.local_cluster(folder, metrics_port):
            stop_on_signal()
            with cluster.running(document) as replace:
                header = HEADER if access.protected(settings, secrets) else ""
                _say(READY.format(base=cluster.base_url(document), family=settings.family, header=header))
                try:
                    wait_for_stop(partial(again, replace))
                except Stop:
                    _say("stopping: running tasks are finished first ...")
    except (Stop, SystemExit):  # while it starts, Ray turns the signal into SystemExit
        _say("stopped before it was ready")
        return 0
    except (ValueError, RuntimeError) as error:
        typer.echo(f"faceswap serve: {error}", err=True)
        return 1
    _say("stopped")
    return 0


def _say(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()


@app.command()
def settings() -> None:
    """Print every setting and its default, in Markdown."""
    typer.echo(settings_page(), nl=False)


@app.command()
def metrics() -> None:
    """Print every metric, in Markdown."""
    typer.echo(metrics_page(), nl=False)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("serve_app.families").setLevel(logging.INFO)
    app()
