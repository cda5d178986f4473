from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, SqliteDatabase, create_schema, open_database
from serve_app.tasks.schema import tasks
from serve_app.tasks.store import TaskStore
from tests.tasks.common import claimed, new, no_inputs

# The tables as release 0.1.0 made them, with a task that waits and one that succeeded.
OLDER = """
CREATE TABLE tasks (
    id VARCHAR(16) NOT NULL, status VARCHAR(16) NOT NULL, progress INTEGER NOT NULL, mode VARCHAR(32), state TEXT, notify_hook TEXT,
    instance_id TEXT, base_url TEXT NOT NULL, submit_time BIGINT NOT NULL, start_time BIGINT, finish_time BIGINT, fail_reason TEXT,
    result TEXT, result_name TEXT, properties JSON NOT NULL, attempt INTEGER NOT NULL, fence INTEGER NOT NULL, lease_until BIGINT,
    lease_owner TEXT, priority INTEGER NOT NULL, PRIMARY KEY (id)
);
CREATE INDEX tasks_waiting ON tasks (priority DESC, submit_time, id) WHERE finish_time IS NULL AND lease_until IS NULL;
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE lease_until IS NOT NULL;
INSERT INTO tasks (id, status, progress, base_url, submit_time, finish_time, result, properties, attempt, fence, priority) VALUES
    ('1700000000000001', 'NOT_START', 0, 'http://b', 1700000000000, NULL, NULL, '{}', 0, 0, 0),
    ('1700000000000000', 'SUCCESS', 100, 'http://b', 1700000000000, 2, 'results/a-a.png', '{}', 1, 1, 1);
"""


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


async def test_a_file_of_an_older_release_is_brought_up_to_date(tmp_path: Path) -> None:
    older = sqlite3.connect(tmp_path / "older.db")
    older.executescript(OLDER)
    older.close()
    for _ in range(2):
        create_schema(tmp_path / "older.db")
    create_schema(tmp_path / "new.db")
    assert objects(tmp_path / "older.db") == objects(tmp_path / "new.db")
    database = open_database(tmp_path / "older.db")
    store = TaskStore(database, BlobStore(tmp_path / "blobs"))
    assert [(task.id[-1], task.status, task.owner) for task in await store.newest()] == [("1", "NOT_START", ""), ("0", "SUCCESS", "")]
    waiting = await claimed(store)
    assert await store.succeed(waiting, "results/b-b.png", "b.png", {})
    again = [await store.submit(new(owner="a", key="k"), no_inputs) for _ in range(2)]
    assert again[0] == again[1]
    await database.close()


def objects(file: Path) -> dict[str, set[str]]:
    """Columns of each table and index."""
    connection = sqlite3.connect(file)
    names = [row[0] for row in connection.execute("select name from sqlite_master order by name")]
    found = {name: {f"{row[1:]}" for row in connection.execute(f"pragma table_info('{name}')")} for name in names}
    found |= {
        name: {f"{row[0]} {row[2]}" for row in connection.execute(f"pragma index_info('{name}')")} for name in names if not found[name]
    }
    connection.close()
    return found
