from __future__ import annotations

import pytest

from serve_app.tasks import retention as retention_module
from serve_app.tasks.blobs import BlobMissing, BlobStore
from serve_app.tasks.database import Database
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.query import Query
from serve_app.tasks.retention import Removed, Retention
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status, Task
from tests.tasks.common import Clock, claimed, current, new, no_inputs

DAY_S = 86_400


@pytest.fixture
def retention(database: Database, blobs: BlobStore, clock: Clock) -> Retention:
    return Retention(database, blobs, results_days=30, tasks_days=365, clock=clock)


async def done(store: TaskStore, blobs: BlobStore) -> Task:
    """A task with a picture."""
    task = await store.submit(new(), no_inputs)
    await blobs.put(key := f"results/{task.id}-a.png", b"picture")
    assert await store.succeed(await claimed(store), key, f"{task.id}-a.png", {})
    return await current(store, task.id)


async def failed(store: TaskStore) -> Task:
    task = await store.submit(new(), no_inputs)
    assert await store.fail(await claimed(store), "why", {})
    return await current(store, task.id)


async def has(blobs: BlobStore, task: Task) -> bool:
    try:
        return await blobs.get(f"results/{task.id}-a.png") == b"picture"
    except BlobMissing:
        return False


async def test_a_result_goes_after_its_days_and_the_task_stays(
    store: TaskStore, blobs: BlobStore, clock: Clock, retention: Retention
) -> None:
    old, failure = await done(store, blobs), await failed(store)
    clock.tick(29 * DAY_S)
    young = await done(store, blobs)
    assert await retention.apply() == Removed(0, 0)
    clock.tick(DAY_S)
    waiting = await store.submit(new(), no_inputs)
    assert await retention.apply() == Removed(1, 0)
    after = await current(store, old.id)
    assert (after.status, after.result, after.result_name) == (Status.SUCCESS, None, old.result_name)
    assert [await current(store, task.id) for task in (failure, young, waiting)] == [failure, young, waiting]
    assert (await has(blobs, old), await has(blobs, young)) == (False, True)
    assert await retention.apply() == Removed(0, 0)


async def test_a_task_goes_after_its_days_with_all_that_it_has(
    store: TaskStore, blobs: BlobStore, clock: Clock, database: Database, outbox: Outbox
) -> None:
    retention = Retention(database, blobs, results_days=None, tasks_days=365, clock=clock)
    old, failure = await done(store, blobs), await failed(store)
    clock.tick(364 * DAY_S)
    young = await done(store, blobs)
    clock.tick(DAY_S)
    waiting = await store.submit(new(hook=None), no_inputs)
    assert await retention.apply() == Removed(0, 2)
    assert await store.get_many([old.id, failure.id, young.id, waiting.id]) == [young, waiting]
    assert (await has(blobs, old), await has(blobs, young)) == (False, True)
    assert {callback.task.id for callback in await outbox.claim_due(10, 30)} == {young.id}
    assert (await store.query(Query(statuses=[Status.SUCCESS, Status.FAILURE]))).total == 1


async def test_for_ever(store: TaskStore, blobs: BlobStore, clock: Clock, database: Database) -> None:
    task = await done(store, blobs)
    clock.tick(10_000 * DAY_S)
    assert await Retention(database, blobs, results_days=None, tasks_days=None, clock=clock).apply() == Removed(0, 0)
    assert await current(store, task.id) == task
    assert await has(blobs, task)


async def test_many_go_in_portions_and_a_round_has_an_end(
    store: TaskStore, blobs: BlobStore, clock: Clock, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "PORTIONS", 2)
    monkeypatch.setattr(retention_module, "PORTION", 3)
    monkeypatch.setattr(retention_module, "_OLD_RESULTS", retention_module._OLD_RESULTS.limit(3))
    made = []
    for _ in range(8):
        made.append(await done(store, blobs))
        clock.tick(1)
    clock.tick(30 * DAY_S)
    assert await retention.apply() == Removed(6, 0)
    assert [await has(blobs, task) for task in made] == [False] * 6 + [True] * 2
    assert await retention.apply() == Removed(2, 0)
