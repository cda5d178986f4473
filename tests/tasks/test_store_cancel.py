"""Cancelling and deleting, and who may."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from serve_app.tasks.blobs import BlobMissing, BlobStore, BlobsUnavailable
from serve_app.tasks.database import Database
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.reasons import CANCELLED
from serve_app.tasks.schema import callbacks, tasks
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status, Task
from tests.tasks.common import Clock, claimed, current, new, no_inputs, walk


async def rows(database: Database) -> tuple[int, int]:
    """Tasks and callbacks."""
    count = select(select(func.count()).select_from(tasks).scalar_subquery(), select(func.count()).select_from(callbacks).scalar_subquery())
    found = await database.read(lambda connection: connection.execute(count).one())
    return found[0], found[1]


async def heard(outbox: Outbox) -> list[Task]:
    told = []
    while due := await outbox.claim_due(1, 30):
        told.append(due[0].task)
        await outbox.delivered(due[0])
    return told


async def finished(store: TaskStore, blobs: BlobStore) -> Task:
    task = await store.submit(new(), partial(blobs.put_inputs, source=b"s", target=b"t"))
    task = await claimed(store)
    await blobs.put(f"results/{task.id}-a.png", b"picture")
    assert await store.succeed(task, f"results/{task.id}-a.png", f"{task.id}-a.png", {})
    return await current(store, task.id)


async def test_a_waiting_task_ends_at_once_and_its_pictures_go(store: TaskStore, blobs: BlobStore, outbox: Outbox, clock: Clock) -> None:
    waiting = await store.submit(new(), partial(blobs.put_inputs, source=b"s", target=b"t"))
    clock.tick(2)
    ended = await store.cancel(waiting.id)
    assert ended == replace(waiting, status=Status.FAILURE, fail_reason=CANCELLED, finish_time=clock.now)
    assert ended == await store.get(waiting.id)
    assert await blobs.ids_with_inputs() == []
    assert [task.status for task in await heard(outbox)] == [Status.FAILURE]
    assert await store.claim("worker", 30) is None
    assert await store.count_unfinished() == 0


async def test_a_running_task_ends_at_once_and_its_worker_is_refused(store: TaskStore, outbox: Outbox) -> None:
    await store.submit(new(), no_inputs)
    task = await claimed(store)
    assert await store.advance(task, 40)
    ended = await store.cancel(task.id)
    assert ended is not None
    assert (ended.status, ended.progress, ended.lease_until) == (Status.FAILURE, 40, None)
    writes: tuple[Callable[[], Awaitable[bool]], ...] = (
        lambda: store.advance(task, 50),
        lambda: store.renew(task, 30),
        lambda: store.release(task),
        lambda: store.succeed(task, "results/a-a.png", "a.png", {}),
        lambda: store.fail(task, "no face", {}),
    )
    for write in writes:
        assert not await write()
    assert await store.get(task.id) == ended
    assert [task.status for task in await heard(outbox)] == [Status.SUBMITTED, Status.IN_PROGRESS, Status.FAILURE]


async def test_what_has_ended_stays_as_it_is(store: TaskStore, blobs: BlobStore, outbox: Outbox) -> None:
    done = await finished(store, blobs)
    await heard(outbox)
    assert await store.cancel(done.id) == done == await store.get(done.id)
    assert await blobs.get(done.result or "") == b"picture"
    cancelled = await store.submit(new(), no_inputs)
    first = await store.cancel(cancelled.id)
    await heard(outbox)
    assert await store.cancel(cancelled.id) == first
    assert await heard(outbox) == []


@pytest.mark.parametrize("id", ["", "nope", "1700000000000000", "x" * 1000])
async def test_an_unknown_task_is_none(store: TaskStore, id: str) -> None:
    assert await store.cancel(id) is None
    assert await store.delete(id) is None


async def test_a_task_is_cancelled_although_its_pictures_cannot_be_deleted(
    store: TaskStore, blobs: BlobStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = await store.submit(new(), partial(blobs.put_inputs, source=b"s", target=b"t"))
    source = tmp_path / "blobs" / "inputs" / task.id / "source"
    source.unlink()
    (source / "in the way").mkdir(parents=True)  # a folder is not deleted as a file is
    with caplog.at_level(logging.WARNING):
        ended = await store.cancel(task.id)
    assert ended is not None
    assert ended.status is Status.FAILURE
    assert task.id in caplog.text


async def test_a_finished_task_is_deleted_with_its_picture(store: TaskStore, blobs: BlobStore, database: Database) -> None:
    done = await finished(store, blobs)
    other = await walk(store)
    assert await store.delete(done.id) == done
    assert await store.get(done.id) is None
    with pytest.raises(BlobMissing):
        await blobs.get(done.result or "")
    assert await rows(database) == (1, 3), "the other task, and its callbacks, are still there"
    assert await store.get(other.id) == other
    assert await store.delete(done.id) is None


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_an_unfinished_task_is_deleted_and_its_worker_refused(
    store: TaskStore, blobs: BlobStore, database: Database, steps: int
) -> None:
    task = await walk(store, steps=steps)
    await blobs.put_inputs(task.id, b"s", b"t")
    deleted = await store.delete(task.id)
    assert deleted is not None
    assert deleted.id == task.id
    assert await rows(database) == (0, 0)
    assert await blobs.ids_with_inputs() == []
    assert not await store.succeed(task, "results/a-a.png", "a.png", {})
    assert not await store.advance(task, 60)
    assert await rows(database) == (0, 0)


async def test_a_delete_that_could_not_delete_the_pictures_may_be_made_again(
    store: TaskStore, blobs: BlobStore, database: Database, tmp_path: Path
) -> None:
    done = await finished(store, blobs)
    picture = tmp_path / "blobs" / (done.result or "")
    picture.unlink()
    (picture / "in the way").mkdir(parents=True)
    with pytest.raises(BlobsUnavailable, match="is a directory"):
        await store.delete(done.id)
    assert (await rows(database))[0] == 1, "the row still says that there is something to delete"
    shutil.rmtree(picture)
    assert await store.delete(done.id) == done


async def test_a_callback_that_is_under_way_is_settled_after_the_delete(store: TaskStore, outbox: Outbox, database: Database) -> None:
    task = await walk(store, steps=1)
    (callback,) = await outbox.claim_due(1, 30)
    assert await store.delete(task.id) is not None
    await outbox.failed(callback, 1)
    await outbox.delivered(callback)
    assert await rows(database) == (0, 0)


async def test_owners_see_their_own_alone(store: TaskStore, blobs: BlobStore) -> None:
    put = partial(blobs.put_inputs, source=b"s", target=b"t")  # of both: it tells when the second draws the first's id
    mine, theirs = await store.submit(new(owner="a"), put), await store.submit(new(owner="b"), put)
    assert (mine.owner, theirs.owner) == ("a", "b")
    for other in ("b", "", "A", "%"):
        assert await store.get(mine.id, other) is None
        assert mine.id not in [task.id for task in await store.get_many([mine.id, theirs.id], other)]
        assert await store.cancel(mine.id, other) is None
        assert await store.delete(mine.id, other) is None
    assert await store.get(mine.id) == mine == await store.get(mine.id, "a")
    assert await blobs.get_inputs(mine.id) == (b"s", b"t")
    assert [task.id for task in await store.get_many([theirs.id, mine.id])] == [theirs.id, mine.id]
    assert await store.cancel(mine.id, "a") is not None
    assert await store.delete(mine.id, "a") is not None
    assert await store.delete(theirs.id) is not None
