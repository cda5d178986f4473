"""What both databases do alike."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from serve_app.tasks.database import Database, is_sqlite, missing, open_database, shown
from serve_app.tasks.schema import callbacks, tasks
from serve_app.tasks.store import TaskStore
from tests.tasks.common import claimed, current, new, no_inputs
from tests.tasks.databases import Databases

GONE = r"no such table|does not exist"


def one(connection: Connection) -> int:
    return int(connection.execute(text("select 1")).scalar_one())


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hidden@host/db",
        "postgresql://user:hidden@host",
        "postgresql://user:hidden@host:port/db",
        "sqlite://",
        "sqlite:///:memory:",
        "hidden",
        "://hidden",
    ],
)
def test_only_what_we_can_use_will_do_and_no_password_is_shown(url: str) -> None:
    with pytest.raises(ValueError, match="not a database") as raised:
        open_database(url)
    assert "hidden" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_what_people_are_shown() -> None:
    assert shown("postgresql://user:hidden@host:5432/db?password=hidden&sslmode=require") == "postgresql://user:***@host:5432/db"
    assert shown("postgres://host/db") == "postgresql://host/db"
    assert shown("sqlite:///a/b.db") == shown(Path("a/b.db")) == "a/b.db"


def test_which_is_a_file(tmp_path: Path) -> None:
    assert is_sqlite(tmp_path / "a.db")
    assert is_sqlite("sqlite:////a.db")
    assert not is_sqlite("postgresql+psycopg://host/db")
    assert missing(tmp_path / "a.db")
    assert not missing("postgresql://host/db")


async def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def half(connection: Connection) -> None:
        connection.execute(text("create table half (x integer)"))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await database.write(half)
    with pytest.raises(DBAPIError, match=GONE):
        await database.read(lambda connection: connection.execute(text("select * from half")).all())
    assert await database.read(one) == 1


async def test_errors_do_not_show_what_users_sent(database: Database, store: TaskStore) -> None:
    def break_it(connection: Connection) -> None:
        connection.execute(text("alter table tasks add column needed integer not null default 1"))
        connection.execute(text("create unique index single on tasks (state)"))

    def forget(connection: Connection) -> None:
        connection.execute(text("drop table tasks"))

    secret = new(hook="http://user:pa55@host/?token=s3cret", state="private")
    await store.submit(secret, no_inputs)
    await database.write(break_it)
    values = {"id": "1", "state": "private", "notify_hook": "s3cret", "status": "SUCCESS", "progress": 1, "base_url": "pa55"}
    values |= {"submit_time": 1, "properties": {}, "attempt": 0, "fence": 0, "priority": 0}
    for wrong in (values, {**values, "base_url": None}, {**values, "progress": 2**40, "id": "s3cret" * 9, "state": "s3cret"}):
        with pytest.raises(DBAPIError) as raised:  # noqa: PT012
            await database.write(lambda connection, wrong=wrong: connection.execute(tasks.insert(), wrong).close())  # type: ignore[misc]
            assert wrong["progress"] == 2**40, "SQLite takes it"
            raise DBAPIError("", None, Exception())
        assert hidden(raised.value)
    await database.write(forget)
    with pytest.raises(DBAPIError, match=GONE) as raised:
        await store.submit(secret, no_inputs)
    assert hidden(raised.value)


def hidden(error: BaseException | None) -> bool:
    """As a log would show it, with its cause."""
    while error is not None:
        if any(word in str(error) for word in ("pa55", "s3cret", "private")):
            return False
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return True


async def test_all_statements_of_a_read_see_one_snapshot(where: str | Path, database: Database) -> None:
    count = text("select count(*) from usage")
    other = open_database(where)
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()

    def twice(connection: Connection) -> tuple[int, int]:
        before = connection.execute(count).scalar_one()
        loop.call_soon_threadsafe(seen.set)
        for _ in range(10_000):  # until the other has written
            after = connection.execute(count).scalar_one()
            if wrote.done():
                break
        return before, after

    async def write() -> None:
        await seen.wait()
        await other.write(lambda connection: connection.execute(text("insert into usage values ('a', '2030-01-31', 1)")).close())

    wrote = asyncio.create_task(write())
    assert await database.read(twice) == (0, 0)
    await wrote
    assert await database.read(lambda connection: connection.execute(count).scalar_one()) == 1
    await other.close()


async def test_a_caller_that_is_cancelled_leaves_a_transaction_that_goes_on(database: Database) -> None:
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(connection: Connection) -> None:
        loop.call_soon_threadsafe(began.set)
        connection.execute(text("insert into usage values ('a', '2030-01-31', 1)")).close()

    write = asyncio.create_task(database.write(work))
    await began.wait()
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    async with asyncio.timeout(5):
        while not await database.read(lambda connection: connection.execute(text("select * from usage")).all()):
            await asyncio.sleep(0.01)


async def test_closing_waits_for_what_is_under_way(where: str | Path) -> None:
    database = open_database(where)
    writes = [asyncio.create_task(database.write(one)) for _ in range(20)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*writes) == [1] * 20


async def test_text_with_a_nul_in_it(store: TaskStore, database: Database) -> None:
    """PostgreSQL has none in text; the API takes none, and nothing else stops here because of one."""
    task = await store.submit(new(state="a\x00b", hook="http://a/\x00", key="k\x00"), no_inputs)
    assert (task.state, (await current(store, task.id)).state) == ("a\x00b", "a\ufffdb")
    assert (await store.submit(new(state="x", key="k\x00"), no_inputs)).id == task.id
    assert await store.get("1\x00") is None
    assert await store.get_many(["1\x00", task.id], "a\x00") == []
    assert await store.succeed(await claimed(store), "a", "a", {"why": "a\x00b"})
    assert (await current(store, task.id)).properties == {"why": "a\x00b"}
    told = await database.read(lambda connection: connection.execute(select(callbacks.c.task)).scalars().all())
    assert told[-1]["state"] == "a\ufffdb"


async def test_words_come_back_as_they_were_and_in_the_order_of_code_points(database: Database) -> None:
    words = ["a", "B", "b", "Ä", "ä", "z", "脸", "😀", "_", "-", "a b", "ab"]
    days = [{"key_id": word, "day": "2030-01-31", "submits": 1} for word in words]
    await database.write(lambda connection: connection.execute(text("insert into usage values (:key_id, :day, :submits)"), days).close())
    found = await database.read(lambda connection: connection.execute(text("select key_id from usage order by key_id")).scalars().all())
    assert found == sorted(words)


async def test_numbers_as_large_as_they_get(databases: Databases, database: Database, store: TaskStore) -> None:
    """Times in milliseconds are past 32 bits; so are a page far beyond the last one, and a lease of years."""
    await store.submit(new(), no_inputs)
    task = await store.claim("worker", 10**9)
    assert task is not None
    assert task.lease_until is not None
    assert task.lease_until > 2**40
    assert await store.renew(task, 10**10)


async def test_json_comes_back_as_it_was(store: TaskStore) -> None:
    properties = {"b": [1, 2.5, None, True, 2**60, 1e300], "a": {"脸": "\u2028'\"\\"}, "": ""}
    await store.submit(new(), no_inputs)
    task = await claimed(store)
    assert await store.succeed(task, "r", "n", properties)
    found = (await current(store, task.id)).properties
    assert found == properties
    assert list(found) == ["b", "a", ""], "in its order: what people see of a task does not change from one look to the next"
