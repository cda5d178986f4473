from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from sqlalchemy import select

from serve_app.tasks.database import Database, open_database
from serve_app.tasks.keys import Key, KeyRing, Quota
from serve_app.tasks.schema import metadata
from serve_app.tasks.store import TaskStore
from tests.tasks.common import Clock, claimed, new, no_inputs

DAY_S = 24 * 3600


@pytest.fixture
def ring(database: Database, clock: Clock) -> KeyRing:
    return KeyRing(database, clock)


async def test_a_key_is_found_by_its_token_alone(ring: KeyRing, clock: Clock) -> None:
    key, token = await ring.create("new-api", daily=100, concurrent=3)
    assert re.fullmatch(r"fs-[A-Za-z0-9_-]{43}", token)
    assert key == Key(key.id, "new-api", "user", Quota(100, 3), clock.now, None, None)
    assert await ring.find(token) == key
    for wrong in ("", "fs-", token[:-1], token + "x", token.upper(), key.id, "ключ", "\udcff"):
        assert await ring.find(wrong) is None


async def test_keys_and_tokens_are_all_different(ring: KeyRing) -> None:
    made = [await ring.create("same", "admin") for _ in range(50)]
    assert len({key.id for key, _ in made}) == len({token for _, token in made}) == 50
    for key, token in made:
        assert await ring.find(token) == key


async def test_the_token_is_stored_nowhere(ring: KeyRing, database: Database) -> None:
    key, token = await ring.create("a")
    stored = await database.read(lambda connection: [str(connection.execute(select(table)).all()) for table in metadata.sorted_tables])
    assert any(key.id in rows for rows in stored)
    assert not any(token.removeprefix("fs-") in rows for rows in stored)


async def test_states(ring: KeyRing, clock: Clock) -> None:
    key, token = await ring.create("a", expires=clock.now + 1000)
    assert key.state(clock.now) == key.state(clock.now + 999) == "active"
    assert key.state(clock.now + 1000) == "expired"
    clock.tick(1)
    assert await ring.find(token) == key, "a client is told that its key has expired"
    assert await ring.revoke(key.id)
    revoked = await ring.find(token)
    assert revoked is not None
    assert (revoked.state(clock.now), revoked.revoked) == ("revoked", clock.now)
    when = clock.now
    clock.tick(10)
    assert await ring.revoke(key.id)
    assert [use.key.revoked for use in await ring.list()] == [when], "it was revoked only once"
    assert not await ring.revoke("nope")


async def test_a_service_whose_keys_are_all_revoked_is_not_open(ring: KeyRing) -> None:
    assert not await ring.any()
    key, _ = await ring.create("a")
    assert await ring.any()
    await ring.revoke(key.id)
    assert await ring.any()


async def test_what_another_process_did_is_known_within_5_seconds(ring: KeyRing, clock: Clock, where: str | Path) -> None:
    other_database = open_database(where)
    other = KeyRing(other_database, clock)
    assert not await ring.any()
    key, token = await other.create("a")
    clock.tick(4.9)
    assert await ring.find(token) is None, "it is not asked for at every request"
    clock.tick(0.1)
    assert await ring.any()
    assert await ring.find(token) == key
    await other.revoke(key.id)
    clock.tick(5)
    found = await ring.find(token)
    assert found is not None
    assert found.state(clock.now) == "revoked"
    clock.now -= 3_600_000  # somebody sets the clock
    later, token = await other.create("b")
    assert await ring.find(token) == later
    await other_database.close()


async def test_many_that_ask_at_once_ask_the_database_once(ring: KeyRing, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    read = database.read

    async def counted(work: object) -> object:
        nonlocal reads
        reads += 1
        return await read(work)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "read", counted)
    await asyncio.gather(*(ring.find(f"guess {n}") for n in range(200)))
    assert reads == 1


async def test_the_list_says_what_each_was_used_for(ring: KeyRing, store: TaskStore, clock: Clock) -> None:
    first, _ = await ring.create("first")
    clock.tick(1)
    second, _ = await ring.create("second", "admin")
    for owner in (first.id, first.id, first.id, "secret"):
        await store.submit(new(owner=owner), no_inputs)
    assert await store.fail(await claimed(store), "no face", {})
    clock.tick(DAY_S)
    await store.submit(new(owner=first.id), no_inputs)
    assert await ring.list() == [(first, 1, 4, len(await store.unfinished(first.id))), (second, 0, 0, 0)]


@pytest.mark.parametrize(
    "bad",
    [
        {"role": "root"},
        {"daily": 0},
        {"daily": -1},
        {"concurrent": 2**31},
        {"expires": 1_700_000_000_000},
        {"label": "x" * 201},
        {"label": "two\nlines"},
    ],
    ids=str,
)
async def test_keys_that_make_no_sense(ring: KeyRing, bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"role|limit|expired|label"):
        await ring.create(**{"label": "a", **bad})  # type: ignore[arg-type]
    assert not await ring.any()
