"""What is true of SQLite alone."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from serve_app.tasks.database import Database, DatabaseUnavailable, open_database
from serve_app.tasks.migrate import migrate
from serve_app.tasks.schema import tasks
from serve_app.tasks.sqlite import READ, SqliteDatabase, sqlite_engine


@pytest.fixture
def file(tmp_path: Path) -> Path:
    migrate(tmp_path / "tasks.db")
    return tmp_path / "tasks.db"


@pytest.fixture
async def database(file: Path) -> AsyncIterator[Database]:
    database = open_database(file)
    yield database
    await database.close()


def one(connection: Connection) -> int:
    return int(connection.execute(text("select 1")).scalar_one())


async def test_a_url_and_a_path_name_the_same_file(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/folder/a.db")
    migrate(tmp_path / "folder" / "a.db")
    database = open_database(tmp_path / "folder" / "a.db")
    assert await database.read(lambda connection: connection.execute(select(tasks)).all()) == []
    await database.close()


def test_a_new_file_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    """The switch to WAL is where SQLite fails one of two at once; without a second try some 5 of 100 fail."""

    def opened(number: int, barrier: threading.Barrier) -> None:
        engine = sqlite_engine(tmp_path / f"{number}.db")
        barrier.wait()
        with engine.execution_options(begin=READ).begin() as connection:
            assert connection.execute(text("pragma journal_mode")).scalar_one() == "wal"
        engine.dispose()

    with ThreadPoolExecutor(4) as threads:
        for number in range(50):
            barrier = threading.Barrier(4)
            list(threads.map(opened, [number] * 4, [barrier] * 4))


async def test_a_reader_does_not_wait_for_a_writer_and_a_writer_waits_its_turn(database: Database, file: Path) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await database.read(one) == 1
    write = asyncio.create_task(database.write(one))
    done, _ = await asyncio.wait([write], timeout=0.2)
    assert not done
    other.execute("COMMIT")
    other.close()
    assert await write == 1


async def test_a_writer_gives_up_after_its_time(file: Path) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    hasty = SqliteDatabase(file, busy_s=0.05)
    async with asyncio.timeout(3):
        with pytest.raises(DatabaseUnavailable, match="database is locked"):
            await hasty.write(one)
    other.close()
    assert await hasty.write(one) == 1
    await hasty.close()


async def test_a_full_disk_is_said_and_nothing_is_left_of_the_write(database: Database, file: Path) -> None:
    pages = await database.read(lambda connection: connection.execute(text("pragma page_count")).scalar_one())
    await database.read(lambda connection: connection.execute(text(f"pragma max_page_count = {pages}")).close())

    def fill(connection: Connection) -> None:
        connection.execute(text("insert into usage values ('a', :day, 1)"), [{"day": f"{n:09}"} for n in range(10_000)])

    with pytest.raises(DatabaseUnavailable, match="full"):
        await database.write(fill)
    await database.read(lambda connection: connection.execute(text("pragma max_page_count = 100000")).close())
    assert await database.read(lambda connection: connection.execute(text("select count(*) from usage")).scalar_one()) == 0
    await database.write(fill)
