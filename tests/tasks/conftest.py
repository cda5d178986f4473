from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, create_schema, open_database
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.store import TaskStore
from tests.tasks.common import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    create_schema(tmp_path / "tasks.db")
    database = open_database(tmp_path / "tasks.db")
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
