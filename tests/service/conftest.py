"""One Ray cluster for the whole session, started the way `faceswap serve` starts it, with the built-in models."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from benchmarks.service import Service, free_port
from serve_app.deployments import cluster
from tests.service.client import Client

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "a secret of the tests"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    os.environ["FACESWAP_SECRET"] = SECRET  # replicas inherit it from here
    with tempfile.TemporaryDirectory(prefix="faceswap-test-") as folder, cluster.local_cluster(Path(folder)):
        yield


@pytest.fixture(scope="session")
def client(ray_cluster: None, builtin_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The service with two Ingress replicas, as in production, and a client that knows its secret."""
    settings = {"data_dir": tmp_path_factory.mktemp("data"), "models_dir": builtin_weights.parent}
    config = cluster.load_config(ROOT / "config" / "local.yaml", port=free_port(), settings=settings)
    for deployment in config.applications[0].deployments:
        if deployment.name == "Ingress":
            deployment.num_replicas = 2
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
