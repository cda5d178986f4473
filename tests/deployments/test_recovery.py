"""The loops of an Ingress: every task ends or is worked on, and a database that is down is one line in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from serve_app.deployments import recovery
from serve_app.deployments.recovery import Recovery, every
from serve_app.tasks.blobs import BlobStore, BlobsUnavailable
from serve_app.tasks.database import DatabaseUnavailable, open_database
from serve_app.tasks.reasons import OVERDUE
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask, Status, Task
from tests.tasks.databases import migrated


class Table:
    """A store whose clock stands still unless the test turns it, and a recovery that notes what it tells others."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_700_000_000_000
        self.folder = folder
        self.blobs = BlobStore(folder / "blobs")
        self.database = open_database(migrated(folder / "tasks.db"))
        self.store = TaskStore(self.database, self.blobs, clock=lambda: self.now, deadline_s=60)
        self.waiting: list[int] = []
        self.told = 0
        self.recovery = Recovery(
            self.store,
            self.blobs,
            cover=self.waiting.append,
            ended=self._tell,
            limit=10,
            settle_s=10,
            now=lambda: self.now / 1000,
        )

    def _tell(self) -> None:
        self.told += 1

    async def submit(self) -> Task:
        return await self.store.submit(
            NewTask(None, None, None, None, "http://b"), partial(self.blobs.put_inputs, source=b"s", target=b"t")
        )


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    table = Table(tmp_path)
    yield table
    await table.database.close()


async def test_waiting_and_expired_rows_are_covered(table: Table) -> None:
    for _ in range(3):
        await table.submit()
    assert await table.store.claim("alive", 30)
    assert await table.store.claim("dead", 10)
    table.now += 11_000
    await table.recovery.look()
    assert table.waiting == [2], "one nobody had, and one that is waited for again"


async def test_what_a_dead_call_had_claimed_waits_at_once(table: Table) -> None:
    task = await table.submit()
    assert await table.store.claim("ticket", 30)
    await table.recovery.lost("ticket")
    assert table.waiting == [1]
    again = await table.store.claim("other", 30)
    assert again is not None
    assert (again.id, again.losses) == (task.id, 1)


async def test_tasks_past_their_deadline_end_and_their_pictures_go(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "OVERDUE_AT_A_TIME", 2)
    tasks = [await table.submit() for _ in range(5)]
    assert await table.store.claim("somebody", 600)
    table.now += 60_000
    await table.recovery.look()
    for task in tasks:
        ended = await table.store.get(task.id)
        assert ended is not None
        assert (ended.status, ended.fail_reason) == (Status.FAILURE, f"{OVERDUE} (not finished within 60 s)")
    assert table.waiting == [0]
    assert table.told > 0, "their hooks are to hear of it"
    assert not [path for path in (table.folder / "blobs").rglob("[!.]*") if path.is_file()]


async def test_pictures_that_cannot_be_deleted_keep_no_task_from_its_end(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "OVERDUE_AT_A_TIME", 2)
    asked: list[str] = []

    async def hang(id: str) -> None:
        asked.append(id)
        assert await table.store.unfinished() == [], "tasks end first"
        assert table.waiting == [0], "and the others are worked on"
        raise BlobsUnavailable("no answer")

    for _ in range(5):
        await table.submit()
    table.now += 60_000
    monkeypatch.setattr(table.blobs, "delete_inputs", hang)
    await table.recovery.look()
    assert len(asked) == 1, "the sweep has the others, once the store answers"


async def test_after_an_outage_those_who_still_work_may_renew_before_their_leases_are_taken(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    await table.submit()
    claimed = await table.store.claim("alive", 10)
    assert claimed is not None

    async def unavailable(limit: int) -> list[str]:
        raise DatabaseUnavailable("PostgreSQL: ConnectionRefusedError")

    with monkeypatch.context() as outage:
        outage.setattr(table.store, "fail_overdue", unavailable)
        with pytest.raises(DatabaseUnavailable):
            await table.recovery.look()
    table.now += 11_000  # it lasts longer than the lease, and than they are given: that begins when it is back
    await table.recovery.look()
    table.now += 9_000
    await table.recovery.look()
    assert table.waiting == [0, 0]
    assert await table.store.renew(claimed, 10)
    table.now += 11_000
    await table.recovery.look()
    assert table.waiting[-1] == 1
    assert not await table.store.renew(claimed, 10), "taken, in the end"


async def test_a_database_that_is_down_is_one_line_in_the_log_and_one_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds <= 5:
            raise DatabaseUnavailable("PostgreSQL: ConnectionRefusedError")
        enough.set()

    with caplog.at_level(logging.INFO, "serve_app"):
        loop = asyncio.create_task(every(0.01, "recovery", work))
        await asyncio.wait_for(enough.wait(), 5)
        await asyncio.sleep(0)
        loop.cancel()
    assert [message.partition(";")[0].partition(",")[0] for message in caplog.messages] == [
        "recovery: PostgreSQL: ConnectionRefusedError",
        "recovery: it works again",
    ]
