"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from serve_app.deployments import environment
from serve_app.engines import weights
from tests import lanes
from tests.postgres import Postgres
from tests.s3 import S3

environment.prepare()  # before any test module imports Ray


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tasks", type=int, help="tasks of the tests with many writing processes; some hundred each")
    parser.addoption("--fuzz", type=int, default=300, help="made-up swap bodies; other requests and histories of tasks in proportion")
    parser.addoption("--fault-seconds", type=float, default=60.0, help="how long the service is broken on purpose")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> lanes.Lanes:
    return lanes.Lanes(config, log)


def pytest_testnodeready(node: lanes.Node) -> None:
    lanes.running.append(node)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    lanes.wait()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        lanes.order(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """Before pytest-timeout starts to count."""
    with lanes.turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(scope="session")
def builtin_weights() -> Path:
    """The folder of the built-in model files; made once, by `make test` or here."""
    folder = Path(__file__).resolve().parent.parent / "models" / "builtin"
    weights.prepare(folder)
    return folder


@pytest.fixture(scope="session")
def examples(request: pytest.FixtureRequest) -> int:
    """How many swap bodies are made up, --fuzz."""
    return int(request.config.getoption("--fuzz"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests. Who stops it starts a server of their own."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A PostgreSQL server that may be stopped, and that keeps what was committed."""
    server = Postgres(durable=True)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An S3 server for all tests. Who stops it starts one of their own."""
    server = S3()
    try:
        server.start()
        yield server
    finally:
        server.close()
