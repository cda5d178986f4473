"""One Ray cluster for the whole session, started the way `faceswap serve` starts it, with the built-in models."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from ray.serve.schema import ServeDeploySchema

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
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service of `client` keeps its tasks and keys."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def config(builtin_weights: Path, data_dir: Path) -> ServeDeploySchema:
    """Of the service of `client`: two Ingress replicas, as in production."""
    # Tests send many wrong keys, all from one address.
    settings = {"data_dir": data_dir, "models_dir": builtin_weights.parent, "rates": {"wrong_keys": "6000/minute"}}
    config = cluster.load_config(ROOT / "config" / "local.yaml", port=free_port(), settings=settings)
    for deployment in config.applications[0].deployments:
        if deployment.name == "Ingress":
            deployment.num_replicas = 2
    return config


@pytest.fixture(scope="session")
def client(ray_cluster: None, config: ServeDeploySchema) -> Iterator[Client]:
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
