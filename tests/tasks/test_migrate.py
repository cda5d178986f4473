"""From nothing, and from what older releases left, to this release's tables."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, DatabaseUnavailable, open_database
from serve_app.tasks.migrate import DatabaseTooNew, migrate
from serve_app.tasks.migrations.versions import v0001_tables
from serve_app.tasks.query import Query
from serve_app.tasks.schema import metadata
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status
from tests.tasks.common import Clock, claimed, new, no_inputs
from tests.tasks.databases import Databases
from tests.tasks.processes import Processes

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

OLDER_TIME = 1_700_000_000_000

LAYOUT = {
    "sqlite": [
        "select m.name, c.name, c.type, c.[notnull], c.dflt_value, c.pk from sqlite_master m, pragma_table_info(m.name) c "
        "where m.type = 'table'",
        "select name, sql from sqlite_master where type in ('index', 'trigger') and sql is not null",
    ],
    "postgresql": [
        "select table_name, column_name, data_type, character_maximum_length, collation_name, is_nullable, column_default "
        "from information_schema.columns where table_schema = 'public'",
        "select tablename, indexdef from pg_indexes where schemaname = 'public'",
        "select tgname, pg_get_triggerdef(oid), pg_get_functiondef(tgfoid) from pg_trigger where not tgisinternal",
        "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint where connamespace = 'public'::regnamespace",
    ],
}


def layout(connection: Connection) -> list[list[tuple[Any, ...]]]:
    """Columns, indexes and constraints, as the database itself says."""
    rows = [connection.execute(text(query)).all() for query in LAYOUT[connection.dialect.name]]
    return [sorted(tuple(map(str, row)) for row in found if "alembic" not in str(row)) for found in rows]


async def layout_of(where: str | Path) -> list[list[tuple[Any, ...]]]:
    database = open_database(where)
    try:
        return await database.read(layout)
    finally:
        await database.close()


async def intended(databases: Databases) -> list[list[tuple[Any, ...]]]:
    """What schema.py says."""
    where = databases.make(empty=True)
    database = open_database(where)
    await database.write(metadata.create_all)
    await database.close()
    return await layout_of(where)


async def test_migrations_make_what_the_schema_says(databases: Databases) -> None:
    where = databases.make(empty=True)
    for _ in range(2):
        migrate(where)
    found = await layout_of(where)
    assert sum(map(len, found)) > 50
    assert found == await intended(databases)


async def test_tables_without_a_record_of_migrations_are_taken_over(databases: Databases) -> None:
    where = databases.make(empty=True)
    database = open_database(where)
    await database.write(v0001_tables.metadata.create_all)
    await database.write(lambda connection: connection.execute(text("drop table usage")).close())
    await database.write(lambda connection: connection.execute(text("drop index tasks_owner")).close())
    migrate(where)
    assert await database.read(layout) == await intended(databases)
    await database.close()


async def test_a_file_of_an_older_release_is_brought_up_to_date(tmp_path: Path) -> None:
    older = sqlite3.connect(tmp_path / "older.db")
    older.executescript(OLDER)
    older.close()
    for _ in range(2):
        migrate(tmp_path / "older.db")
    migrate(tmp_path / "new.db")
    assert await layout_of(tmp_path / "older.db") == await layout_of(tmp_path / "new.db")
    database = open_database(tmp_path / "older.db")
    clock = Clock(OLDER_TIME + 279_999)
    store = TaskStore(database, BlobStore(tmp_path / "blobs"), clock=clock)
    assert [(task.id[-1], task.status, task.owner) for task in await store.newest()] == [("1", "NOT_START", ""), ("0", "SUCCESS", "")]
    assert (await store.query(Query(status=Status.SUCCESS))).total == 1, "it was counted as it was found"
    waiting = await claimed(store)
    assert waiting.deadline == OLDER_TIME + 280_000, "of a task that was accepted without one"
    assert await store.fail_overdue(5) == []
    clock.tick(0.001)
    assert await store.fail_overdue(5) == [waiting.id]
    again = [await store.submit(new(owner="a", key="k"), no_inputs) for _ in range(2)]
    assert again[0] == again[1]
    await database.close()


async def test_several_processes_at_once_migrate_once(databases: Databases, tmp_path: Path) -> None:
    where = databases.make(empty=True)
    processes = Processes(where, tmp_path)
    try:
        started = [processes.start("migrate", 0) for _ in range(4)]
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in started:
            await processes.report(process)
    finally:
        processes.end()
    assert await layout_of(where) == await intended(databases)


async def test_a_migration_that_fails_leaves_the_database_as_it_was(databases: Databases) -> None:
    where = databases.make(empty=True)
    database = open_database(where)
    await database.write(v0001_tables.metadata.create_all)
    for statement in (
        "alter table tasks drop column state",  # which it adds before it fails on the next
        "alter table usage drop column submits",
        "insert into usage values ('a', '2030-01-31')",
        "drop table keys",
    ):
        await database.write(lambda connection, statement=statement: connection.execute(text(statement)).close())  # type: ignore[misc]
    before = await database.read(layout)
    with pytest.raises(DBAPIError):
        migrate(where)
    assert await database.read(layout) == before
    await database.close()


async def test_a_database_of_a_later_release_is_refused(databases: Databases, database: Database, where: str | Path) -> None:
    await database.write(lambda connection: connection.execute(text("update alembic_version set version_num = '9999'")).close())
    with pytest.raises(DatabaseTooNew, match="9999"):
        migrate(where)


async def test_migrating_from_the_thread_of_a_loop_and_from_another(databases: Databases) -> None:
    migrate(databases.make(empty=True))
    await asyncio.to_thread(migrate, databases.make(empty=True))


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        migrate("postgresql://user:hidden@127.0.0.1:1/db")
    assert "hidden" not in str(raised.value)
