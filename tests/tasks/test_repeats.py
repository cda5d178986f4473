from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import func, select

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database
from serve_app.tasks.quota import Quota
from serve_app.tasks.repeats import IdempotencyMismatch
from serve_app.tasks.schema import usage
from serve_app.tasks.store import TaskStore
from tests.tasks.common import Clock, claimed, current, new, no_inputs


async def test_a_repetition_gets_the_first_task_as_it_is_now(store: TaskStore, blobs: BlobStore, clock: Clock) -> None:
    write = partial(blobs.put_inputs, source=b"s", target=b"t")
    first = await store.submit(new(key="k", fingerprint="f"), write)
    assert await store.submit(new(key="k", fingerprint="f"), write) == first
    assert await store.succeed(await claimed(store), "results/a-a.png", "a.png", {})
    clock.tick(10**6)
    assert await store.submit(new(key="k", fingerprint="f"), write) == await current(store, first.id)
    assert await store.count_unfinished() == 0
    assert await blobs.ids_with_inputs() == [first.id]


async def test_another_request_under_the_same_key_is_refused(store: TaskStore, blobs: BlobStore) -> None:
    first = await store.submit(new(key="k", fingerprint="f"), partial(blobs.put_inputs, source=b"s", target=b"t"))
    for fingerprint in ("g", None):
        with pytest.raises(IdempotencyMismatch):
            await store.submit(new(key="k", fingerprint=fingerprint), partial(blobs.put_inputs, source=b"x", target=b"y"))
    assert [task.id for task in await store.unfinished()] == [first.id]
    assert await blobs.ids_with_inputs() == [first.id]


async def test_keys_of_several_owners_do_not_meet(store: TaskStore) -> None:
    made = [await store.submit(new(owner=owner, key="k", fingerprint=owner), no_inputs) for owner in ("", "a", "b")]
    assert len({task.id for task in made}) == 3


async def test_submits_without_a_key_are_all_new(store: TaskStore) -> None:
    assert len({(await store.submit(new(owner="a"), no_inputs)).id for _ in range(5)}) == 5


async def test_a_repetition_costs_nothing_and_needs_no_room(store: TaskStore, database: Database) -> None:
    asked = new(owner="a", key="k", fingerprint="f")
    first = await store.submit(asked, no_inputs, Quota(1, 1))
    for _ in range(3):
        assert await store.submit(asked, no_inputs, Quota(1, 1)) == first
    used = select(func.sum(usage.c.submits))
    assert await database.read(lambda connection: connection.execute(used).scalar()) == 1


async def test_a_deleted_task_is_not_repeated(store: TaskStore) -> None:
    first = await store.submit(new(key="k", fingerprint="f"), no_inputs)
    assert await store.delete(first.id) is not None
    again = await store.submit(new(key="k", fingerprint="g"), no_inputs)
    assert again.id == (await store.unfinished())[0].id


async def test_a_repetition_that_comes_while_the_first_still_writes(store: TaskStore, blobs: BlobStore) -> None:
    asked, other = new(key="k", fingerprint="f"), []

    async def overtaken(id: str) -> None:
        await blobs.put_inputs(id, b"s", b"t")
        other.append(await store.submit(asked, partial(blobs.put_inputs, source=b"s", target=b"t")))

    task = await store.submit(asked, overtaken)
    assert [task] == other == await store.unfinished()
    assert await blobs.ids_with_inputs() == [task.id]
