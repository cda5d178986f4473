from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import select

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database
from serve_app.tasks.quota import Quota, QuotaExceeded, day_of
from serve_app.tasks.schema import usage
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task
from tests.tasks.common import Clock, claimed, new, no_inputs

DAY_S = 24 * 3600


async def refused(store: TaskStore, blobs: BlobStore, owner: str, quota: Quota) -> str:
    """The kind of limit that is reached; asserts that nothing is left of the submit."""
    before = (await store.count_unfinished(), await blobs.ids_with_inputs())
    with pytest.raises(QuotaExceeded) as raised:
        await store.submit(new(owner=owner), partial(blobs.put_inputs, source=b"s", target=b"t"), quota)
    assert (await store.count_unfinished(), await blobs.ids_with_inputs()) == before
    return raised.value.kind


async def used(database: Database) -> list[tuple[str, str, int]]:
    query = select(usage.c.key_id, usage.c.day, usage.c.submits).order_by(usage.c.key_id, usage.c.day)
    return [(row[0], row[1], row[2]) for row in await database.read(lambda connection: connection.execute(query).all())]


async def test_a_day_has_so_many_submits_and_the_next_day_as_many_again(
    store: TaskStore, blobs: BlobStore, database: Database, clock: Clock
) -> None:
    quota, today = Quota(daily=2), day_of(clock.now)
    for _ in range(2):
        task = await store.submit(new(owner="a"), no_inputs, quota)
        await store.delete(task.id)  # deleting gives nothing back
    assert await refused(store, blobs, "a", quota) == "daily"
    await store.submit(new(owner="b"), no_inputs, quota)
    clock.tick(DAY_S)
    await store.submit(new(owner="a"), no_inputs, quota)
    assert await used(database) == [("a", today, 2), ("a", day_of(clock.now), 1), ("b", today, 1)]


async def test_so_many_unfinished_at_a_time_waiting_or_running(store: TaskStore, blobs: BlobStore) -> None:
    quota = Quota(concurrent=2)
    await store.submit(new(owner="b"), no_inputs, quota)
    for _ in range(2):
        await store.submit(new(owner="a"), no_inputs, quota)
    assert await refused(store, blobs, "a", quota) == "concurrent"
    running: Task = await claimed(store)
    while running.owner != "a":
        running = await claimed(store)
    assert await refused(store, blobs, "a", quota) == "concurrent"
    assert await store.fail(running, "no face", {})
    await store.submit(new(owner="a"), no_inputs, quota)
    assert await refused(store, blobs, "a", quota) == "concurrent"
    await store.cancel((await store.unfinished("a"))[0].id)
    await store.submit(new(owner="a"), no_inputs, quota)


async def test_a_refused_submit_is_not_counted(store: TaskStore, blobs: BlobStore, database: Database) -> None:
    await store.submit(new(owner="a"), no_inputs, Quota(5, 1))
    for _ in range(3):
        assert await refused(store, blobs, "a", Quota(5, 1)) == "concurrent"
    assert [submits for _, _, submits in await used(database)] == [1]


async def test_a_limit_that_is_reached_while_the_bytes_are_written_holds_too(store: TaskStore, blobs: BlobStore) -> None:
    async def overtaken(id: str) -> None:
        await blobs.put_inputs(id, b"s", b"t")
        await store.submit(new(owner="a"), no_inputs, Quota(1, None))

    with pytest.raises(QuotaExceeded, match="daily"):
        await store.submit(new(owner="a"), overtaken, Quota(1, None))
    assert len(await store.unfinished("a")) == 1
    assert await blobs.ids_with_inputs() == []


async def test_no_bytes_are_written_for_a_key_that_is_over_its_limit(store: TaskStore) -> None:
    written: list[str] = []

    async def write(id: str) -> None:
        written.append(id)

    await store.submit(new(owner="a"), write, Quota(1))
    with pytest.raises(QuotaExceeded):
        await store.submit(new(owner="a"), write, Quota(1))
    assert len(written) == 1


async def test_a_key_without_limits_is_counted_and_an_open_service_is_not(store: TaskStore, database: Database, clock: Clock) -> None:
    for _ in range(3):
        await store.submit(new(owner="a"), no_inputs)
        await store.submit(new(), no_inputs)
    assert await used(database) == [("a", day_of(clock.now), 3)]
