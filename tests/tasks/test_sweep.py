from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from serve_app.tasks.blobs import BlobStore, BlobsUnavailable
from serve_app.tasks.clock import HOUR_MS
from serve_app.tasks.database import Database
from serve_app.tasks.orphans import Orphans
from serve_app.tasks.retention import Retention
from serve_app.tasks.schema import tasks
from serve_app.tasks.store import TaskStore
from serve_app.tasks.sweep import Sweep, sweep
from serve_app.tasks.task import new_id
from tests.tasks.common import Clock, claimed, current, new


async def test_inputs_go_when_their_task_ended_and_stay_while_it_is_needed(store: TaskStore, blobs: BlobStore, clock: Clock) -> None:
    write = partial(blobs.put_inputs, source=b"s", target=b"t", more=[b"m", b"n"])
    given_up = await store.submit(new(), write)
    for _ in range(3):
        await store.begin(await claimed(store, lease_s=1))
        clock.tick(2)
        await store.take_expired(10)
    done = await store.submit(new(), write)
    assert await store.succeed(await claimed(store), f"results/{done.id}-a.png", f"{done.id}-a.png", {})
    running = await store.submit(new(), write)
    await claimed(store)
    waiting = await store.submit(new(), write)
    assert await sweep(store, blobs) == 2
    assert sorted(await blobs.ids_with_inputs()) == sorted([running.id, waiting.id])
    assert given_up.id not in await blobs.ids_with_inputs()
    assert await blobs.get_more(waiting.id) == [b"m", b"n"]


async def test_inputs_without_a_task_go_once_no_submit_can_be_under_way(store: TaskStore, blobs: BlobStore, clock: Clock) -> None:
    orphan = new_id(clock())
    await blobs.put_inputs(orphan, b"s", b"t")
    assert await sweep(store, blobs) == 0
    clock.tick(3601)
    assert await sweep(store, blobs) == 1
    assert await blobs.ids_with_inputs() == []


async def test_pictures_that_cannot_be_deleted_are_in_nobodys_way(
    store: TaskStore, blobs: BlobStore, database: Database, clock: Clock, tmp_path: Path
) -> None:
    """Whatever becomes of one part of a round, the others are done, in each round."""
    write = partial(blobs.put_inputs, source=b"s", target=b"t")
    await store.submit(new(), write)
    await store.submit(new(), write)
    ended = [await claimed(store) for _ in range(2)]
    for task in ended:
        assert await store.succeed(task, f"results/{task.id}-a.png", f"{task.id}-a.png", {})
        await blobs.put(f"results/{task.id}-a.png", b"r")
        await blobs.put(f"results/{task.id}-b.png", b"nobody's")
    stuck = min(task.id for task in ended)  # those after it are to go
    source = tmp_path / "blobs" / "inputs" / stuck / "source"
    source.unlink()
    (source / "in the way").mkdir(parents=True)  # not to be deleted, also by root
    clock.tick(60)
    young = await store.submit(new(), write)
    await database.write(lambda connection: connection.execute(update(tasks).where(tasks.c.id == young.id).values(deadline=None)))
    orphans = Orphans(store, blobs, results_days=None, clock=clock)
    clock.tick(2 * HOUR_MS / 1000)
    half_a_day = Retention(database, blobs, results_days=1 / 24, tasks_days=None, clock=clock)

    with pytest.raises(BlobsUnavailable, match=f"task {stuck} cannot be deleted: is a directory"):
        await Sweep(store, blobs, half_a_day, orphans).run()
    assert await blobs.ids_with_inputs() == [stuck, young.id]
    assert (await current(store, stuck)).result is None
    assert not list((tmp_path / "blobs").glob("results/*"))
    assert (await current(store, young.id)).deadline > 0
