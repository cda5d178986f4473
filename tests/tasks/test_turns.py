"""Whose task is next. Tasks are told apart by the key that they are of."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, insert, text

from benchmarks.store import waiting_rows
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.schema import tasks
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status
from serve_app.tasks.turns import RELAX_EVERY
from tests.tasks.common import Clock, claimed, current, new, no_inputs


async def submit(store: TaskStore, owner: str, number: int = 1, mode: str | None = None) -> list[str]:
    return [(await store.submit(new(mode, owner=owner), no_inputs)).id for _ in range(number)]


async def take(store: TaskStore, number: int) -> list[str]:
    """The keys whose tasks so many claims take."""
    return [(await claimed(store)).owner for _ in range(number)]


async def test_a_key_with_a_thousand_tasks_waiting_holds_nobody_up(store: TaskStore, database: Database) -> None:
    await database.write(partial(_fill, number=1000))
    assert await take(store, 5) == ["a"] * 5
    await submit(store, "b")
    assert await take(store, 2) == ["b", "a"], "the next claim of all is that of the key with one task"
    await submit(store, "b", 3)
    assert sorted(await take(store, 6)) == ["a"] * 3 + ["b"] * 3
    await submit(store, "c")
    await submit(store, "d")
    assert set(await take(store, 3)) == {"a", "c", "d"}


def _fill(connection: Connection, number: int) -> None:
    connection.execute(insert(tasks), waiting_rows(number, ("a",)))


async def test_keys_that_always_have_something_waiting_share_by_their_weights(store: TaskStore, database: Database) -> None:
    ring = KeyRing(database)
    light, heavy = [(await ring.create("", weight=weight))[0].id for weight in (1, 3)]
    await submit(store, light, 20)
    await submit(store, heavy, 20)
    owners = await take(store, 16)
    assert Counter(owners[:4]) == Counter(owners[4:8]) == Counter(owners[8:12]) == Counter({heavy: 3, light: 1})
    assert await ring.set_weight(light, 3), "also for what waits already"
    assert Counter(await take(store, 6)) == Counter({heavy: 3, light: 3})


async def test_who_asked_for_nothing_saved_nothing_up_and_owes_nothing(store: TaskStore) -> None:
    await submit(store, "b", 2)
    await submit(store, "a", 40)
    assert Counter(await take(store, 24)) == Counter(a=22, b=2)
    await submit(store, "b", 20)
    assert Counter(await take(store, 13)) == Counter(a=6, b=7), "from now on in turn, beginning with the one that waits for its first"


async def test_tasks_that_never_had_their_turn_cost_no_turns(store: TaskStore, clock: Clock) -> None:
    for id in await submit(store, "a", 30):
        await store.cancel(id)
    await submit(store, "b", 20)
    clock.tick(281)
    assert len(await store.fail_overdue(100)) == 20
    await submit(store, "c", 20)
    await submit(store, "a", 2)
    await submit(store, "b", 2)
    assert Counter(await take(store, 6)) == Counter(a=2, b=2, c=2)


async def test_overdue_tasks_hide_nothing(store: TaskStore, clock: Clock) -> None:
    await submit(store, "a", 3)
    await submit(store, "b", 3)
    clock.tick(100)
    await submit(store, "b")
    clock.tick(181)
    assert await take(store, 1) == ["b"]
    assert await store.claim("worker", 30) is None


async def test_relaxed_tasks_wait_for_the_others_but_not_for_ever(store: TaskStore) -> None:
    await submit(store, "relaxed", 10, mode="relax")
    await submit(store, "b", 40)
    for _ in range(3):
        owners = await take(store, RELAX_EVERY)
        assert owners == ["b"] * (RELAX_EVERY - 1) + ["relaxed"], "one in ten, whatever else there is"
    await submit(store, "other", 5, mode="relax")
    rest = await take(store, 13 + 7 + 5)
    assert [owner == "b" for owner in rest[:RELAX_EVERY]] == [True] * (RELAX_EVERY - 1) + [False]
    relaxed = [owner for owner in rest if owner != "b"]
    assert Counter(relaxed[:10]) == Counter(relaxed=5, other=5), "keys in turn among them"


async def test_claims_at_once_find_what_there_is(where: str | Path, blobs: BlobStore) -> None:
    """Whoever comes while others claim of the same key gets another task of it, and nobody is sent away while there is one."""
    databases = [open_database(where) for _ in range(6)]
    stores = [TaskStore(database, blobs) for database in databases]
    await submit(stores[0], "a", 60)
    await submit(stores[0], "b", 3)
    found = []
    for _ in range(10):
        found += await asyncio.gather(*(store.claim("worker", 30) for store in stores))
    assert len({task.id for task in found if task is not None}) == 60, found
    assert Counter(task.owner for task in found[:12] if task is not None)["b"] == 3
    accounts = await databases[0].read(lambda connection: connection.execute(text("select owner, next from turns")).all())
    assert dict(map(tuple, accounts))["a"] >= 57, "each claim was paid for"
    for database in databases:
        await database.close()


async def test_replicas_of_the_release_before_work_beside_ours(store: TaskStore, database: Database, clock: Clock) -> None:
    """What 0007 wrote and claimed, word for word, on the tables of today, as it does while replicas are replaced."""
    added = (
        "insert into tasks (id, status, progress, mode, base_url, submit_time, properties, attempt, fence, priority, owner) values "
        f"('{clock.now}000', 'NOT_START', 0, 'fast', 'http://b', {clock.now}, '{{}}', 0, 0, 1, 'a')"
    )
    key = "insert into keys (id, digest, label, role, created) values ('a', 'd', '', 'user', 1)"
    claim = (
        "update tasks set status = 'SUBMITTED', attempt = attempt + 1, fence = fence + 1, lease_until = {until}, lease_owner = 'old' "
        "where id = "
        "(select id from tasks where finish_time is null and lease_until is null and coalesce(deadline, submit_time + 280000) > {now} "
        "order by priority desc, submit_time, id limit 1{lock}) returning owner"
    )
    lock = await database.read(lambda connection: " for update skip locked" if connection.dialect.name == "postgresql" else "")
    theirs = claim.format(until=clock.now + 30_000, now=clock.now, lock=lock)
    for statement in (key, added):
        await database.write(lambda connection, statement=statement: connection.execute(text(statement)).close())  # type: ignore[misc]
    await submit(store, "b", 3)
    assert await database.write(lambda connection: connection.execute(text(theirs)).scalar_one()) == "a"
    assert (await current(store, f"{clock.now}000")).status is Status.SUBMITTED
    assert await database.write(lambda connection: connection.execute(text(theirs)).scalar_one()) == "b"
    later = added.replace(f"{clock.now}000", f"{clock.now}999")
    await database.write(lambda connection: connection.execute(text(later)).close())
    assert sorted(await take(store, 3)) == ["a", "b", "b"], "what they accept is claimed here as well"
    (use,) = await KeyRing(database).list()
    assert use.key.weight == 1
