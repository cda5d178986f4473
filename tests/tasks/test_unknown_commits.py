"""The connection breaks while a transaction commits: whoever sent it cannot know what became of it, and goes to see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
from sqlalchemy import Connection, func, select, text

from serve_app.tasks import acceptance
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import CommitUnknown, Database, DatabaseUnavailable, open_database
from serve_app.tasks.quota import Quota
from serve_app.tasks.room import Bounds
from serve_app.tasks.schema import callbacks, usage
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status, Task
from tests.postgres import Postgres
from tests.tasks.common import Clock, claimed, current, new
from tests.tasks.cutting import Cut, CuttingProxy
from tests.tasks.databases import PostgresDatabases

ALONE = Quota(daily=1, concurrent=1)


@pytest.fixture
def where(postgres: Postgres) -> Iterator[str]:
    databases = PostgresDatabases(postgres)
    yield databases.make()
    databases.drop()


@pytest.fixture
async def proxy(where: str) -> AsyncIterator[CuttingProxy]:
    async with CuttingProxy(where) as proxy:
        yield proxy


@pytest.fixture
async def database(proxy: CuttingProxy) -> AsyncIterator[Database]:
    """By way of the proxy."""
    database = open_database(proxy.where)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database, blobs: BlobStore, clock: Clock) -> TaskStore:
    return TaskStore(database, blobs, clock=clock, bounds=Bounds(1))


async def submit(store: TaskStore, blobs: BlobStore, key: str | None = None) -> Task:
    asked = new(owner="a", key=key, fingerprint=key)
    return await store.submit(asked, partial(blobs.put_inputs, source=b"s", target=b"t"), ALONE)


async def counted(database: Database) -> int:
    return int(await database.read(lambda connection: connection.execute(select(func.sum(usage.c.submits))).scalar_one()))


async def someone_waits(database: Database) -> None:
    query = text("select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()")

    def look(connection: Connection) -> int:
        return int(connection.execute(query).scalar_one())

    async with asyncio.timeout(10):
        while not await database.read(look):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("cut", [Cut.DONE, Cut.LOST])
async def test_a_submit_is_accepted_once(
    store: TaskStore, blobs: BlobStore, other: Database, proxy: CuttingProxy, cut: Cut, key: str | None
) -> None:
    """Also where the task fills the room, and its key's: it does not stand in its own way."""
    proxy.next = cut
    task = await submit(store, blobs, key)
    assert proxy.broken.is_set()
    others = TaskStore(other, blobs)
    assert await others.newest() == [task]
    assert await counted(other) == 1
    assert await blobs.get_inputs(task.id) == (b"s", b"t")
    assert await blobs.ids_with_inputs() == [task.id]


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_commit_that_is_still_on_its_way_is_waited_for(
    store: TaskStore, blobs: BlobStore, other: Database, proxy: CuttingProxy, key: str | None
) -> None:
    proxy.next = Cut.LATE
    submitting = asyncio.create_task(submit(store, blobs, key))
    await proxy.broken.wait()
    await someone_waits(other)
    proxy.go_on.set()
    task = await submitting
    assert await TaskStore(other, blobs).newest() == [task]
    assert await counted(other) == 1
    assert await blobs.ids_with_inputs() == [task.id]


async def test_what_cannot_be_told_is_said_and_the_pictures_stay(
    store: TaskStore, blobs: BlobStore, other: Database, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "_SETTLE_S", 0.3)
    proxy.next = Cut.DONE
    submitting = asyncio.create_task(submit(store, blobs, "k"))
    await proxy.sent.wait()
    proxy.closed = True
    with pytest.raises(CommitUnknown):
        await submitting
    (task,) = await TaskStore(other, blobs).newest()
    assert await blobs.get_inputs(task.id) == (b"s", b"t"), "it can be worked on"
    with pytest.raises(DatabaseUnavailable) as raised:
        await submit(store, blobs, "k")
    assert not isinstance(raised.value, CommitUnknown), "this one is known: nothing happened"
    assert await blobs.ids_with_inputs() == [task.id]
    proxy.closed = False
    assert (await submit(store, blobs, "k")).id == task.id, "a client that repeats itself gets it"


async def test_an_end_is_committed_once_and_may_be_asked_for_again(
    store: TaskStore, blobs: BlobStore, other: Database, proxy: CuttingProxy
) -> None:
    await submit(store, blobs)
    task = await claimed(store)
    proxy.next = Cut.DONE
    with pytest.raises(CommitUnknown):
        await store.succeed(task, "k/a.png", "a.png", {})
    assert await store.succeed(task, "k/a.png", "a.png", {}), "it was ours"
    assert not await store.succeed(task, "k/b.png", "b.png", {}), "this picture is nobody's"
    assert not await store.fail(task, "no face", {})
    assert (await current(store, task.id)).result == "k/a.png"
    told = select(callbacks.c.task).order_by(callbacks.c.rank)
    rows = await other.read(lambda connection: connection.execute(told).scalars().all())
    assert [row["status"] for row in rows] == [Status.SUBMITTED, Status.SUCCESS]


async def test_an_end_whose_commit_is_still_on_its_way_is_waited_for(
    store: TaskStore, blobs: BlobStore, other: Database, proxy: CuttingProxy
) -> None:
    await submit(store, blobs)
    task = await claimed(store)
    proxy.next = Cut.LATE
    with pytest.raises(CommitUnknown):
        await store.fail(task, "no face", {})
    again = asyncio.create_task(store.fail(task, "no face", {}))
    await someone_waits(other)
    proxy.go_on.set()
    assert await again
    assert (await current(store, task.id)).fail_reason == "no face"


async def test_an_end_that_was_lost_is_made_by_its_repetition(store: TaskStore, blobs: BlobStore, proxy: CuttingProxy) -> None:
    await submit(store, blobs)
    task = await claimed(store)
    for call in (partial(store.advance, task, 10), partial(store.renew, task, 60.0), partial(store.succeed, task, "k/a.png", "a.png", {})):
        for cut in (Cut.LOST, Cut.DONE):
            proxy.next = cut
            with pytest.raises(CommitUnknown):
                await call()
        assert await call()
    assert (await current(store, task.id)).status is Status.SUCCESS


async def test_a_lease_that_was_given_back_is_not_ours_any_more(store: TaskStore, blobs: BlobStore, proxy: CuttingProxy) -> None:
    await submit(store, blobs)
    task = await claimed(store)
    proxy.next = Cut.DONE
    with pytest.raises(CommitUnknown):
        await store.release(task)
    assert not await store.release(task)
    assert (await claimed(store)).losses == 0, "and it was given back once"


@pytest.mark.parametrize("cut", [Cut.DONE, Cut.LOST])
async def test_what_was_read_was_read(store: TaskStore, blobs: BlobStore, proxy: CuttingProxy, cut: Cut) -> None:
    task = await submit(store, blobs)
    proxy.next, proxy.of_read = cut, True
    assert await store.get(task.id) == task
    assert proxy.broken.is_set()
