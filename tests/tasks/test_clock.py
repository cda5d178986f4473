"""tasks/clock.py: machines whose clocks differ agree on the time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.service import free_port
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.clock import DatabaseClock, clock_of, time_of
from serve_app.tasks.database import Database, DatabaseUnavailable, now_ms, open_database
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status
from tests.postgres import Postgres
from tests.tasks.common import claimed, current, new, no_inputs
from tests.tasks.databases import PostgresDatabases


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[Database]:
    made = PostgresDatabases(postgres)
    database = open_database(made.make())
    yield database
    await database.close()
    made.drop()


def off(database: Database, seconds: float) -> DatabaseClock:
    """Of a machine whose clock is so much ahead."""
    return DatabaseClock(database, lambda: now_ms() + int(seconds * 1000))


@pytest.mark.parametrize("seconds", [-300, -31, 31, 300])
async def test_tasks_succeed_in_their_first_attempt_on_machines_whose_clocks_differ(
    database: Database, blobs: BlobStore, seconds: float
) -> None:
    right, wrong = (TaskStore(database, blobs, clock=off(database, by)) for by in (0, seconds))
    for accepts, works in ((right, wrong), (wrong, right)):
        task = await accepts.submit(new(), no_inputs)
        for other in (right, wrong):
            assert await other.fail_overdue(10) == []
        task = await claimed(works)
        assert await works.renew(task, 30)
        for other in (right, wrong):
            assert (await other.fail_overdue(10), await other.take_expired(10)) == ([], 0)
        assert await works.succeed(task, f"{task.id}/a.png", "a.png", {})
        ended = await current(accepts, task.id)
        assert (ended.status, ended.fence) == (Status.SUCCESS, 1)
        assert ended.start_time is not None
        assert 0 <= ended.start_time - ended.submit_time < 10_000, "one time for both"


async def test_it_says_the_time_of_the_database_and_warns_once(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    seconds = 300.0
    clock = DatabaseClock(database, lambda: now_ms() + int(seconds * 1000))
    assert abs(await time_of(clock) - now_ms()) < 5_000
    assert abs(await clock.measured() + 300_000) < 5_000
    clock._measured.forget()
    seconds = -20.0
    assert abs(await time_of(clock) - now_ms()) < 5_000, "a clock that was set is measured again"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "the clock of this machine is 300.0 s off" in warnings[0]


async def test_a_machine_that_has_the_time_is_not_warned_of(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    await time_of(off(database, 0))
    assert not caplog.records


async def test_while_it_cannot_be_measured_nothing_is_judged_by_it() -> None:
    database = open_database(f"postgresql://u:p@127.0.0.1:{free_port()}/d")
    with pytest.raises(DatabaseUnavailable):
        await time_of(off(database, 300))
    await database.close()


async def test_a_file_has_the_clock_of_its_machine(tmp_path: Path, database: Database) -> None:
    file = open_database(tmp_path / "tasks.db")
    assert clock_of(file) is now_ms
    assert isinstance(clock_of(database), DatabaseClock)
    await file.close()
