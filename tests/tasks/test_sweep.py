from __future__ import annotations

from functools import partial

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.store import TaskStore
from serve_app.tasks.sweep import sweep
from serve_app.tasks.task import new_id
from tests.tasks.common import Clock, claimed, new


async def test_inputs_go_when_their_task_ended_and_stay_while_it_is_needed(store: TaskStore, blobs: BlobStore, clock: Clock) -> None:
    write = partial(blobs.put_inputs, source=b"s", target=b"t", more=[b"m", b"n"])
    given_up = await store.submit(new(), write)
    for _ in range(3):
        await claimed(store, lease_s=1)
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
