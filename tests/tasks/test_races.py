"""Several replicas at one database at once, each with its own connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.quota import Quota, QuotaExceeded
from serve_app.tasks.reasons import CANCELLED
from serve_app.tasks.schema import callbacks, usage
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status, Task
from tests.tasks.common import claimed, current, new, no_inputs

ROUNDS = 60


@pytest.fixture
async def replicas(where: str | Path) -> AsyncIterator[list[Database]]:
    opened = [open_database(where) for _ in range(6)]
    yield opened
    for database in opened:
        await database.close()


@pytest.fixture
def stores(replicas: list[Database], blobs: BlobStore) -> list[TaskStore]:
    return [TaskStore(database, blobs) for database in replicas]


async def ends(database: Database, id: str) -> list[str]:
    query = select(callbacks.c.task).where(callbacks.c.task_id == id, callbacks.c.rank == 3)
    return [row.task["status"] for row in await database.read(lambda connection: connection.execute(query).all())]


async def test_of_a_cancel_and_a_success_exactly_one_wins(stores: list[TaskStore], replicas: list[Database]) -> None:
    won = {"cancel": 0, "succeed": 0}
    for n in range(ROUNDS):
        task = await stores[0].submit(new(), no_inputs)
        task = await claimed(stores[1])
        calls = [stores[2].cancel(task.id), stores[1].succeed(task, f"results/{task.id}-a.png", "a.png", {})]
        if n % 2:
            calls.reverse()
        await asyncio.gather(*calls)
        ended = await current(stores[3], task.id)
        succeeded = ended.status is Status.SUCCESS
        won["succeed" if succeeded else "cancel"] += 1
        assert (ended.fail_reason, bool(ended.result)) == ((None, True) if succeeded else (CANCELLED, False))
        assert await ends(replicas[0], task.id) == [ended.status]
        assert not await stores[1].succeed(task, "results/b-b.png", "b.png", {})
        assert await stores[2].cancel(task.id) == ended
    assert min(won.values()) > 0, f"neither always comes first: {won}"


async def test_of_a_cancel_and_a_claim_and_a_recovery_the_cancel_is_never_lost(stores: list[TaskStore]) -> None:
    for _ in range(ROUNDS):
        task = await stores[0].submit(new(), no_inputs)
        taken, cancelled, _ = await asyncio.gather(stores[1].claim("worker", 0.0), stores[2].cancel(task.id), stores[3].take_expired(10))
        await stores[3].take_expired(10)
        assert cancelled is not None
        assert (cancelled.status, cancelled.fail_reason) == (Status.FAILURE, CANCELLED)
        assert taken is None or not await stores[1].advance(taken, 50)
        assert await current(stores[4], task.id) == cancelled
        assert await stores[5].claim("worker", 30) is None


async def test_many_cancels_at_once_owe_one_callback(stores: list[TaskStore], replicas: list[Database]) -> None:
    for _ in range(ROUNDS // 4):
        task = await stores[0].submit(new(), no_inputs)
        told = await asyncio.gather(*(store.cancel(task.id) for store in stores))
        assert len({task.finish_time for task in told if task is not None}) == 1
        assert await ends(replicas[0], task.id) == [Status.FAILURE]


async def test_of_a_delete_and_a_success_nothing_is_left(
    stores: list[TaskStore], replicas: list[Database], blobs: BlobStore, tmp_path: Path
) -> None:
    async def work(task: Task) -> None:
        key = f"results/{task.id}-a.png"
        await blobs.put(key, b"picture")
        if not await stores[1].succeed(task, key, "a.png", {}):
            await blobs.delete(key)

    for _ in range(ROUNDS // 2):
        task = await stores[0].submit(new(), partial(blobs.put_inputs, source=b"s", target=b"t"))
        task = await claimed(stores[1])
        _, *deleted = await asyncio.gather(work(task), stores[2].delete(task.id), stores[3].delete(task.id))
        assert sum(found is not None for found in deleted) == 1, "one of the two deleted it"
    assert await stores[4].newest() == []
    count = select(func.count()).select_from(callbacks)
    assert await replicas[5].read(lambda connection: connection.execute(count).scalar()) == 0
    assert not [path for path in (tmp_path / "blobs").rglob("[!.]*") if path.is_file()]


async def test_a_limit_is_never_exceeded(stores: list[TaskStore], replicas: list[Database], blobs: BlobStore) -> None:
    async def submit(n: int, owner: str, quota: Quota) -> Task | str:
        try:
            return await stores[n % 6].submit(new(owner=owner), partial(blobs.put_inputs, source=b"s", target=b"t"), quota)
        except QuotaExceeded as error:
            return error.kind

    for owner, quota, kind in (("a", Quota(daily=10), "daily"), ("b", Quota(concurrent=10), "concurrent")):
        outcomes = await asyncio.gather(*(submit(n, owner, quota) for n in range(60)))
        accepted = [task for task in outcomes if isinstance(task, Task)]
        assert (len(accepted), outcomes.count(kind)) == (10, 50)
        assert await stores[0].unfinished(owner) == sorted(accepted, key=lambda task: task.id)
    assert len(await blobs.ids_with_inputs()) == 20
    counted = await replicas[0].read(lambda connection: connection.execute(select(usage.c.submits)).scalars().all())
    assert counted == [10, 10]


async def test_of_many_submits_with_one_idempotency_key_one_makes_the_task(stores: list[TaskStore], blobs: BlobStore) -> None:
    for n in range(ROUNDS // 6):
        asked = new(owner="a", key=f"k{n}", fingerprint="f")
        told = await asyncio.gather(*(store.submit(asked, partial(blobs.put_inputs, source=b"s", target=b"t")) for store in stores * 2))
        assert len({task.id for task in told}) == 1
    assert len(await stores[0].unfinished("a")) == ROUNDS // 6 == len(await blobs.ids_with_inputs())


async def test_cancels_and_deletes_beside_a_courier(stores: list[TaskStore], replicas: list[Database]) -> None:
    """A courier that claims, settles and retries while its callbacks' tasks vanish."""
    outboxes = [Outbox(database) for database in replicas[4:]]
    made = [await stores[0].submit(new(), no_inputs) for _ in range(ROUNDS)]

    async def courier(outbox: Outbox) -> None:
        while await stores[3].newest(limit=1):
            for callback in await outbox.claim_due(5, 30):
                await (outbox.delivered(callback) if callback.task.id[-1] in "02468" else outbox.failed(callback, 0))
            await asyncio.sleep(0)

    async def work() -> None:
        while (task := await stores[1].claim("worker", 30)) is not None:
            await stores[1].advance(task, 50)

    async def clear() -> None:
        for task in made:
            await stores[2].cancel(task.id)
            await stores[2].delete(task.id)

    async with asyncio.timeout(30):
        await asyncio.gather(work(), clear(), *map(courier, outboxes))
    count = select(func.count()).select_from(callbacks)
    assert await replicas[0].read(lambda connection: connection.execute(count).scalar()) == 0


async def test_keys_made_and_revoked_at_once(replicas: list[Database]) -> None:
    rings = [KeyRing(database) for database in replicas]
    made = await asyncio.gather(*(ring.create(f"{n}") for n, ring in enumerate(rings * 3)))
    assert all(await asyncio.gather(*(ring.revoke(key.id) for ring, (key, _) in zip(rings * 3, made, strict=True))))
    assert [use.key.revoked is not None for use in await rings[0].list()] == [True] * 18
