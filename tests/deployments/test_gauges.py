"""What one Ingress counts in the database for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from serve_app.deployments.gauges import Gauges
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.hooks import Hooks
from serve_app.tasks.migrate import migrate
from serve_app.tasks.room import Bounds
from serve_app.tasks.store import TaskStore
from tests.recorded import Recorded
from tests.tasks.common import Clock, claimed, new, no_inputs


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    migrate(tmp_path / "tasks.db")
    database = open_database(tmp_path / "tasks.db")
    yield database
    await database.close()


async def test_the_queue_and_the_callbacks(database: Database, tmp_path: Path) -> None:
    clock, recorded = Clock(), Recorded()
    store = TaskStore(database, BlobStore(tmp_path / "blobs"), clock=clock, bounds=Bounds(50))
    gauges = Gauges(store, Hooks(database, clock=clock), clock, recorded, lambda: True)
    await gauges.look()
    assert recorded.last["oldest_waiting_seconds",] == recorded.last["oldest_callback_seconds",] == 0
    await store.submit(new(), no_inputs)
    clock.tick(2)
    await store.submit(new(), no_inputs)
    await claimed(store)
    clock.tick(3)
    await gauges.look()
    assert recorded.last == {
        ("unfinished_tasks", "waiting"): 1,
        ("unfinished_tasks", "working"): 1,
        ("oldest_waiting_seconds",): 3,
        ("room_tasks",): 50,
        ("kept_tasks", "SUCCESS"): 0,
        ("kept_tasks", "FAILURE"): 0,
        ("owed_callbacks", "pending"): 1,
        ("owed_callbacks", "dead"): 0,
        ("oldest_callback_seconds",): 3,
    }


async def test_only_the_chosen_replica_looks_and_a_database_that_is_gone_is_not_looked_at(database: Database, tmp_path: Path) -> None:
    recorded, chosen = Recorded(), False
    store = TaskStore(database, BlobStore(tmp_path / "blobs"))
    gauges = Gauges(store, Hooks(database), Clock(), recorded, lambda: chosen)
    await gauges.look()
    assert not recorded.last
    chosen = True
    await database.write(lambda connection: connection.execute(text("drop table tasks")).close())
    with pytest.raises(OperationalError, match="no such table"):
        await gauges.look()
    assert not recorded.last
