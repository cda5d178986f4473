from __future__ import annotations

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.clock import DAY_MS
from serve_app.tasks.orphans import Orphans
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task, new_id
from tests.tasks.common import Clock, claimed, new, no_inputs
from tests.tasks.test_retention import done


def started(store: TaskStore, blobs: BlobStore, clock: Clock, results_days: float | None) -> Orphans:
    """After the wait with which a service starts."""
    orphans = Orphans(store, blobs, results_days=results_days, clock=clock)
    clock.tick(600)
    return orphans


async def results(blobs: BlobStore) -> set[str]:
    return {key async for keys in blobs.results(0, 9_000_000_000_000) for key in keys}


async def died(store: TaskStore, blobs: BlobStore) -> Task:
    """Its first worker died between picture and commit, the second one made it."""
    task = await store.submit(new(), no_inputs)
    await blobs.put(f"results/{task.id}-first.png", b"lost")
    await blobs.put(key := f"results/{task.id}-second.png", b"picture")
    assert await store.succeed(await claimed(store), key, f"{task.id}-second.png", {})
    return task


async def test_what_a_dead_worker_left_goes_when_no_commit_can_come(store: TaskStore, blobs: BlobStore, clock: Clock) -> None:
    orphans = Orphans(store, blobs, results_days=30, clock=clock)
    ended = await died(store, blobs)
    running = await store.submit(new(), no_inputs)
    await claimed(store)
    await blobs.put(f"results/{running.id}-a.png", b"not committed yet")
    kept = {f"results/{ended.id}-second.png", f"results/{running.id}-a.png"}
    clock.tick(1800)
    assert await orphans.delete() == 0
    clock.tick(2 * 3600)
    assert await orphans.delete() == 1
    assert await results(blobs) == kept
    late = await died(store, blobs)
    assert await orphans.delete() == 0
    clock.tick(2.5 * 3600)
    assert await orphans.delete() == 1
    assert await results(blobs) == kept | {f"results/{late.id}-second.png"}


async def test_what_was_there_before_the_service_started(store: TaskStore, blobs: BlobStore, clock: Clock) -> None:
    ended = await died(store, blobs)
    clock.tick(6 * 86_400)
    orphans = Orphans(store, blobs, results_days=None, clock=clock)
    clock.tick(3600)
    assert await orphans.delete() == 1
    assert await results(blobs) == {f"results/{ended.id}-second.png"}


async def test_pictures_of_which_the_database_knows_nothing_are_left_alone(store: TaskStore, blobs: BlobStore, clock: Clock) -> None:
    task = await done(store, blobs)
    await blobs.put(other := f"results/{new_id(clock() + 1)}-a.png", b"another service's, or of a deleted task")
    clock.tick(7200)
    assert await started(store, blobs, clock, 30).delete() == 0
    assert await results(blobs) == {task.result, other}
    clock.tick(31 * 86_400)
    assert await started(store, blobs, clock, 30).delete() == 2
    assert await results(blobs) == set()


async def test_what_is_older_than_results_are_kept_goes_whoever_has_it(store: TaskStore, blobs: BlobStore, clock: Clock) -> None:
    await blobs.put(f"results/{clock() - 31 * DAY_MS - 1}000-a.png", b"old")
    await blobs.put(young := f"results/{clock() - 30 * DAY_MS}000-a.png", b"young")
    assert await started(store, blobs, clock, None).delete() == 0
    assert await started(store, blobs, clock, 30).delete() == 1
    assert await results(blobs) == {young}
