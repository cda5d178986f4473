from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from serve_app.tasks.database import Database, SqliteDatabase, create_schema, open_database
from serve_app.tasks.schema import tasks
from serve_app.tasks.store import TaskStore
from tests.tasks.common import new, no_inputs


def one(connection: Connection) -> int:
    return int(connection.execute(text("select 1")).scalar_one())


@pytest.mark.parametrize("url", ["postgresql://user:hidden@host/db", "sqlite://", "sqlite:///:memory:"])
def test_only_a_sqlite_file_will_do_and_no_password_is_shown(url: str) -> None:
    with pytest.raises(ValueError, match="not a database") as raised:
        open_database(url)
    assert "hidden" not in str(raised.value)


async def test_a_url_and_a_path_name_the_same_file(tmp_path: Path) -> None:
    create_schema(f"sqlite:///{tmp_path}/folder/a.db")
    create_schema(tmp_path / "folder" / "a.db")
    database = open_database(tmp_path / "folder" / "a.db")
    assert await database.read(lambda connection: connection.execute(select(tasks)).all()) == []
    await database.close()


async def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def half(connection: Connection) -> None:
        connection.execute(text("create table half (x)"))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await database.write(half)
    with pytest.raises(DBAPIError, match="no such table"):
        await database.read(lambda connection: connection.execute(text("select * from half")).all())
    assert await database.read(one) == 1


async def test_errors_do_not_show_what_users_sent(database: Database, store: TaskStore) -> None:
    def forget(connection: Connection) -> None:
        connection.execute(text("drop table tasks"))

    await database.write(forget)
    with pytest.raises(DBAPIError) as raised:
        await store.submit(new(hook="http://user:pa55@host/?token=s3cret", state="private"), no_inputs)
    assert not any(word in str(raised.value) for word in ("pa55", "s3cret", "private"))


async def test_a_reader_does_not_wait_for_a_writer_and_a_writer_waits_its_turn(database: Database, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await database.read(one) == 1
    write = asyncio.create_task(database.write(one))
    done, _ = await asyncio.wait([write], timeout=0.2)
    assert not done
    other.execute("COMMIT")
    other.close()
    assert await write == 1


async def test_a_writer_gives_up_after_its_time(database: Database, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    hasty = SqliteDatabase(tmp_path / "tasks.db", busy_s=0.05)
    async with asyncio.timeout(3):
        with pytest.raises(DBAPIError, match="database is locked"):
            await hasty.write(one)
    other.close()
    assert await hasty.write(one) == 1
    await hasty.close()


async def test_closing_waits_for_what_is_under_way(tmp_path: Path) -> None:
    create_schema(tmp_path / "a.db")
    database = open_database(tmp_path / "a.db")
    writes = [asyncio.create_task(database.write(one)) for _ in range(20)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*writes) == [1] * 20
