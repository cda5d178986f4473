"""tasks/shared.py: many wait for one look at the database, also where it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, DatabaseUnavailable, open_database
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.room import Bounds
from serve_app.tasks.shared import Shared
from serve_app.tasks.store import TaskStore
from tests.tasks.common import Clock

FRESH_MS = 3_000


class Table:
    """Looked at slowly: a look ends when `answer` is set. Finds how often it was looked at, or raises `error`."""

    def __init__(self) -> None:
        self.looks = 0
        self.answer = asyncio.Event()
        self.error: Exception | None = None

    async def look(self) -> int:
        self.looks += 1
        number = self.looks
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return number


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def shared(table: Table, clock: Clock) -> Shared[int]:
    return Shared(table.look, FRESH_MS, clock)


async def waiting(shared: Shared[int], number: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(shared.get()) for _ in range(number)]
    await asyncio.sleep(0)
    return tasks


async def test_one_looks_for_all_who_ask_and_for_a_while(shared: Shared[int], table: Table, clock: Clock) -> None:
    tasks = await waiting(shared, 20)
    table.answer.set()
    assert set(await asyncio.gather(*tasks)) == {1}
    clock.now += FRESH_MS - 1
    assert await shared.get() == 1
    clock.now += 1
    assert await shared.get() == 2
    clock.now -= 10_000
    assert await shared.get() == 3, "a clock that was set back makes nothing last"


async def test_a_failure_is_that_of_all_who_wait_and_of_nobody_after(shared: Shared[int], table: Table) -> None:
    table.error = OSError("away")
    tasks = await waiting(shared, 20)
    table.answer.set()
    assert set(await asyncio.gather(*tasks, return_exceptions=True)) == {table.error}
    assert table.looks == 1
    table.error = None
    assert await shared.get() == 2


async def test_who_asked_first_may_go_away(shared: Shared[int], table: Table) -> None:
    first, second = await waiting(shared, 2)
    first.cancel()
    await asyncio.wait([first])
    table.answer.set()
    assert await second == 1


async def test_what_was_asked_for_before_something_changed_is_not_what_is_found_after(shared: Shared[int], table: Table) -> None:
    before = await waiting(shared, 1)
    shared.forget()
    after = await waiting(shared, 1)
    table.answer.set()
    assert await asyncio.gather(*before, *after) == [1, 2]
    assert await shared.get() == 2


class Silent:
    """A server that accepts connections, says nothing, and hangs up when `go` is set."""

    def __init__(self) -> None:
        self.connections = 0
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.reached.set()
        await self.go.wait()
        writer.close()


@pytest.fixture
async def silent() -> AsyncIterator[tuple[Silent, Database]]:
    silent = Silent()
    async with await asyncio.start_server(silent.serve, "127.0.0.1") as server:
        database = open_database(f"postgresql://u:p@127.0.0.1:{server.sockets[0].getsockname()[1]}/d?ssl=disable")
        yield silent, database
        await database.close()


@pytest.mark.parametrize(
    "asked",
    [
        lambda database, blobs: TaskStore(database, blobs, bounds=Bounds()).room,
        lambda database, blobs: KeyRing(database).any,
    ],
    ids=["room", "keys"],
)
async def test_a_database_that_is_away_is_asked_once_for_all_who_wait(
    silent: tuple[Silent, Database], blobs: BlobStore, asked: Callable[[Database, BlobStore], Callable[[], Awaitable[object]]]
) -> None:
    server, database = silent
    ask = asked(database, blobs)
    calls = [asyncio.ensure_future(ask()) for _ in range(100)]
    await server.reached.wait()
    server.go.set()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(one) for one in found} == {DatabaseUnavailable}
    assert server.connections == 1
