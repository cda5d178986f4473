"""What the store says of tasks, on both databases."""

from __future__ import annotations

import pytest

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.census import Census
from serve_app.tasks.database import Database
from serve_app.tasks.reasons import Cause
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task
from tests.recorded import Recorded
from tests.tasks.common import Clock, claimed, new, no_inputs


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def store(database: Database, blobs: BlobStore, clock: Clock, recorded: Recorded) -> TaskStore:
    return TaskStore(database, blobs, clock=clock, max_attempts=1, deadline_s=60, record=recorded)


async def test_each_end_is_counted_once_with_its_cause(store: TaskStore, recorded: Recorded, clock: Clock) -> None:
    for _ in range(8):
        await store.submit(new(), no_inputs)
    again = [await store.submit(new(key="k", fingerprint="f"), no_inputs) for _ in range(2)]
    assert again[0].id == again[1].id
    made, wrong, broken, lost, _ = [await claimed(store, lease_s=5) for _ in range(5)]
    clock.tick(1.5)
    assert await store.succeed(made, "results/a-a.png", "a.png", {})
    assert await store.fail(wrong, "no face", {}, Cause.PICTURE)
    assert await store.fail(broken, "internal", {})
    clock.tick(4)
    assert await store.take_expired(10) == 0
    assert not await store.fail(lost, "too late", {}, Cause.INPUTS_GONE)
    for _ in range(2):
        await store.cancel((await store.unfinished())[0].id)
    await store.delete((await store.unfinished())[0].id)
    clock.tick(60)
    assert len(await store.fail_overdue(10)) == 1
    assert recorded.counted == {
        ("tasks_accepted",): 9,
        ("tasks_ended", "SUCCESS", ""): 1,
        ("tasks_ended", "FAILURE", "picture"): 1,
        ("tasks_ended", "FAILURE", "internal"): 1,
        ("tasks_ended", "FAILURE", "worn_out"): 2,
        ("tasks_ended", "FAILURE", "cancelled"): 3,
        ("tasks_ended", "FAILURE", "overdue"): 1,
    }
    assert recorded.every[("task_seconds", "FAILURE")] == [1.5, 1.5]


async def test_work_that_was_lost_is_counted(database: Database, blobs: BlobStore, clock: Clock, recorded: Recorded) -> None:
    store = TaskStore(database, blobs, clock=clock, max_attempts=3, record=recorded)
    await store.submit(new(), no_inputs)
    await claimed(store, lease_s=5)
    clock.tick(6)
    assert await store.take_expired(10) == 1
    assert recorded.counted[("tasks_taken_back",)] == 1


async def test_the_census(store: TaskStore, clock: Clock) -> None:
    assert await store.census() == Census(0, 0, None, 0, 0)
    first = clock()
    tasks: list[Task] = []
    for mode in ("relax", None, None, "fast"):
        tasks.append(await store.submit(new(mode), no_inputs))
        clock.tick(1)
    assert await store.census() == Census(4, 0, first, 0, 0)
    await claimed(store)
    done = await claimed(store)
    assert await store.succeed(done, "results/a-a.png", "a.png", {})
    assert await store.census() == Census(2, 1, first, 1, 0)
    await store.cancel(tasks[0].id)
    assert await store.census() == Census(1, 1, first + 3000, 1, 1)
