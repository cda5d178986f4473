from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.store import TaskStore
from tests.tasks.common import Clock
from tests.tasks.databases import Databases, PostgresDatabases, SqliteDatabases


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Makes databases of one kind; what asks for it, or for what follows, is run on both."""
    kind = SqliteDatabases(tmp_path) if request.param == "sqlite" else PostgresDatabases(request.getfixturevalue("postgres"))
    yield kind
    kind.drop()


@pytest.fixture
def where(databases: Databases) -> str | Path:
    """A database with this release's tables."""
    return databases.make()


@pytest.fixture
async def database(where: str | Path) -> AsyncIterator[Database]:
    database = open_database(where)
    yield database
    await database.close()


@pytest.fixture
async def other(where: str | Path) -> AsyncIterator[Database]:
    """Another process's way to the same."""
    database = open_database(where)
    yield database
    await database.close()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def store(database: Database, blobs: BlobStore, clock: Clock) -> TaskStore:
    return TaskStore(database, blobs, clock=clock)


@pytest.fixture
def outbox(database: Database, clock: Clock) -> Outbox:
    return Outbox(database, clock=clock)
