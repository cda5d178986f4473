"""One Ray cluster for the whole session, started the way `faceswap serve` starts it, with the built-in models."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray.serve.schema import ServeDeploySchema

from benchmarks.service import Service, free_port
from serve_app.deployments import cluster
from tests.service.client import Client
from tests.service.collector import Collector, collecting

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "a secret of the tests"


@dataclass(frozen=True)
class Cluster:
    """metrics_port: where Prometheus finds its metrics. logs: the folder of Serve's log files."""

    metrics_port: int
    logs: Path


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Hears of the traces of `client`."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def ray_cluster(collector: Collector) -> Iterator[Cluster]:
    os.environ["FACESWAP_SECRET"] = SECRET  # replicas inherit it from here
    port = free_port()
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_metrics_report_interval_ms", "3000")  # gauges live for two of them, and Ray sets those of a node every 5 s
            patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.base)
            patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
            patch.setenv("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", "serve_app.deployments.otlp:exporter")
            patch.setenv("RAY_SERVE_TRACING_SAMPLING_RATIO", "0")
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="faceswap-test-"))
            stack.enter_context(cluster.local_cluster(Path(folder), port))
        yield Cluster(port, Path(folder) / "session_latest" / "logs" / "serve")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service of `client` keeps its tasks and keys."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def config(builtin_weights: Path, data_dir: Path) -> ServeDeploySchema:
    """Of the service of `client`: two Ingress replicas, JSON logs and traces, as in production.

    Of itself it begins no trace; requests with a sampled `traceparent` are traced.
    """
    # Tests send many wrong keys, all from one address.
    settings = {
        "data_dir": data_dir,
        "models_dir": builtin_weights.parent,
        "rates": {"wrong_keys": "6000/minute"},
        "ingress": {"max_dispatched": 8, "gauges_period_s": 1.0},
    }
    config = cluster.load_config(ROOT / "config" / "local.yaml", port=free_port(), settings=settings, json_logs=True)
    for deployment in config.applications[0].deployments:
        if deployment.name == "Ingress":
            deployment.num_replicas = 2
    return config


@pytest.fixture(scope="session")
def client(ray_cluster: Cluster, config: ServeDeploySchema) -> Iterator[Client]:
    """The service, and a client that knows its secret."""
    with cluster.running(config):
        yield Client(cluster.base_url(config), SECRET)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what the service of its own was complaining of."""
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if report.failed and isinstance(service, Service):
        report.sections.append(("the service", service.troubles()))
    return report
