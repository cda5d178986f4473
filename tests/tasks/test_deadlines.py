"""Deadlines where several look for them at once, and while workers finish."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text

from benchmarks.store import fill
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.reasons import OVERDUE
from serve_app.tasks.rows import to_values
from serve_app.tasks.schema import callbacks, tasks
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status, Task
from tests.tasks.common import Clock, claimed, current, new, no_inputs
from tests.tasks.processes import Processes


@pytest.fixture
async def stores(where: str | Path, blobs: BlobStore, clock: Clock) -> AsyncIterator[list[TaskStore]]:
    """As of several processes."""
    databases = [open_database(where) for _ in range(4)]
    yield [TaskStore(database, blobs, clock=clock) for database in databases]
    for database in databases:
        await database.close()


async def ends(database: Database) -> Counter[str]:
    """How often each task's end is owed to its hook."""
    query = select(callbacks.c.task_id).where(callbacks.c.rank == 3)
    return Counter(await database.read(lambda connection: connection.execute(query).scalars().all()))


async def test_each_task_is_ended_by_one_of_many(stores: list[TaskStore], database: Database, clock: Clock) -> None:
    ids = {(await stores[0].submit(new(), no_inputs)).id for _ in range(60)}
    for _ in range(20):
        await claimed(stores[0], lease_s=600)
    clock.tick(280)

    async def recover(store: TaskStore) -> list[str]:
        found: list[str] = []
        while ended := await store.fail_overdue(7):
            found += ended
        return found

    found = [id for part in await asyncio.gather(*map(recover, stores)) for id in part]
    while more := await stores[0].fail_overdue(7):  # those that somebody had locked when the others looked
        found += more
    assert sorted(found) == sorted(ids)
    assert await stores[0].count_unfinished() == 0
    assert await ends(database) == dict.fromkeys(ids, 1)


async def test_a_task_ends_by_its_worker_or_by_its_deadline_and_not_by_both(
    stores: list[TaskStore], database: Database, clock: Clock
) -> None:
    for _ in range(40):
        await stores[0].submit(new(), no_inputs)
    claims = [await claimed(stores[0], lease_s=600) for _ in range(40)]
    clock.tick(280)

    async def finish(n: int, task: Task) -> bool:
        return await stores[n % 3].succeed(task, f"{task.id}/a.png", "a.png", {})

    async def recover() -> set[str]:
        return {id for _ in range(10) for id in await stores[3].fail_overdue(4)}

    recovering = asyncio.create_task(recover())
    done = await asyncio.gather(*(finish(n, task) for n, task in enumerate(claims)))
    overdue = await recovering
    while more := await stores[3].fail_overdue(40):
        overdue |= set(more)
    for task, succeeded in zip(claims, done, strict=True):
        ended = await current(stores[0], task.id)
        assert succeeded is (task.id not in overdue)
        assert ended.status is (Status.SUCCESS if succeeded else Status.FAILURE)
        assert (ended.fail_reason or "").startswith(OVERDUE) is not succeeded
        assert bool(ended.result) is succeeded
    assert await ends(database) == dict.fromkeys((task.id for task in claims), 1)


async def test_processes_that_recover_while_others_work(where: str | Path, tmp_path: Path) -> None:
    """Every task ends once, and is not made after its deadline has ended it."""
    processes = Processes(where, tmp_path)
    try:
        recovering = [processes.start("recover", 120) for _ in range(2)]
        working = [processes.start("work_late", 60) for _ in range(2)]
        reports = [await processes.report(process) for process in working]
        overdue = [id for process in recovering for id in (await processes.report(process))["overdue"]]
    finally:
        processes.end()
    made = [id for report in reports for id in report["made"]]
    assert len(made) + len(overdue) == len({*made, *overdue}) == 120
    assert made
    assert overdue
    database = open_database(where)
    assert await ends(database) == dict.fromkeys([*made, *overdue], 1)
    await database.close()


async def test_a_row_of_a_release_without_deadlines(store: TaskStore, database: Database, clock: Clock) -> None:
    """One of its replicas may still accept while this release starts."""
    row = to_values(Task("1700000000000001", Status.NOT_START, 0, None, None, None, None, "http://b", clock.now))
    old = {name: value for name, value in row.items() if name != "deadline"}
    await database.write(lambda connection: connection.execute(insert(tasks), old).close())
    assert (await current(store, "1700000000000001")).deadline == clock.now + 280_000
    clock.tick(279.999)
    assert await store.fail_overdue(5) == []
    clock.tick(0.001)
    assert await store.claim("worker", 30) is None
    await store.tidy()
    assert await store.fail_overdue(5) == ["1700000000000001"]


async def test_looking_for_what_is_overdue_and_claiming_go_by_small_indexes(database: Database, blobs: BlobStore) -> None:
    """With many finished tasks, and with many that are overdue already."""
    await fill(database, 5_000)
    plain = database.read

    def plan(connection: Connection, statement: str) -> str:
        word = "explain" if connection.dialect.name == "postgresql" else "explain query plan"
        return "\n".join(str(tuple(row)) for row in connection.execute(text(f"{word} {statement}")))

    unfinished = "select id from tasks where finish_time is null"
    look = f"{unfinished} and deadline <= 5 limit 5"
    late = "coalesce(deadline, submit_time + 280000) > 5"
    best = f"{unfinished} and lease_until is null and {late} and priority = 0 and owner = 'a' order by id limit 1"
    next_key = "select min(owner) from tasks where finish_time is null and lease_until is null and priority = 0 and owner > 'a'"
    assert "tasks_overdue" in await plain(lambda connection: plan(connection, look))
    for statement in (best, next_key):
        found = await plain(lambda connection, statement=statement: plan(connection, statement))  # type: ignore[misc]
        assert "tasks_turns" in found
        assert "Sort" not in found
        assert "TEMP" not in found
    count = "select count(*) from tasks where finish_time is null and lease_until is null"
    assert "tasks_turns" in await plain(lambda connection: plan(connection, count))
