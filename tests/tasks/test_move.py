"""From a SQLite file to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from benchmarks.store import fill
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import DatabaseUnavailable, open_database
from serve_app.tasks.keys import KeyRing, Quota
from serve_app.tasks.migrate import migrate
from serve_app.tasks.move import TABLES, MoveError, move, users_of
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.query import Query
from serve_app.tasks.sqlite import SqliteDatabase
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status
from tests.postgres import Postgres, alone
from tests.tasks.common import claimed, new, no_inputs
from tests.tasks.databases import PostgresDatabases, migrated
from tests.tasks.processes import Processes, line


@pytest.fixture
def target(postgres: Postgres) -> Iterator[str]:
    """A database without tables."""
    databases = PostgresDatabases(postgres)
    yield databases.make(empty=True)
    databases.drop()


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A store in which there is something of everything."""
    migrated(file := tmp_path / "tasks.db")
    database = open_database(file)
    await fill(database, 2_500)
    store = TaskStore(database, BlobStore(tmp_path / "blobs"))
    ring = KeyRing(database)
    key, _ = await ring.create("new api", daily=5)
    asked = new(owner=key.id, key="again", fingerprint="f", state="脸 \x00 '")
    await store.submit(replace(asked, options={"faces": [0, 2]}), no_inputs, Quota(5))
    await claimed(store)
    await database.close()
    return file


def nothing(done: int, total: int) -> None:
    """No bar."""


async def rows(where: str | Path) -> list[list[tuple[object, ...]]]:
    """All of it."""
    database = open_database(where)

    def work(connection: Connection) -> list[list[tuple[object, ...]]]:
        return [[tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))] for table in TABLES]

    try:
        return await database.read(work)
    finally:
        await database.close()


async def test_everything_arrives_as_it_was(file: Path, target: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    moved = await move(file, target, lambda done, total: seen.append((done, total)))
    assert moved == {"keys": 1, "usage": 1, "tasks": 2_521, "callbacks": 1}
    assert seen[0] == (0, 2_524)
    assert seen[-1] == (2_524, 2_524)
    assert await rows(target) == await rows(file)

    database = open_database(target)
    store = TaskStore(database, BlobStore(tmp_path / "blobs"))
    assert [(await store.query(Query(status=status))).total for status in (Status.SUCCESS, Status.FAILURE)] == [2_250, 250]
    repeated = await store.submit(new(owner=(await KeyRing(database).list())[0].key.id, key="again", fingerprint="f"), no_inputs)
    assert repeated.state == "脸 \ufffd '"
    assert len(await Outbox(database).claim_due(5, 30)) == 1
    assert await store.count_waiting() == 20
    await database.close()


async def test_a_target_with_rows_is_left_alone(file: Path, target: str) -> None:
    migrate(target)
    database = open_database(target)
    await KeyRing(database).create("there before")
    await database.close()
    before = await rows(target)
    with pytest.raises(MoveError, match="1 keys"):
        await move(file, target, nothing)
    assert await rows(target) == before


async def test_what_is_interrupted_has_moved_nothing_and_can_be_made_again(file: Path, target: str) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        if done > 1_500:
            raise Interrupted

    with pytest.raises(Interrupted):
        await move(file, target, interrupt)
    assert not any(await rows(target))
    assert (await move(file, target, nothing))["tasks"] == 2_521


async def test_a_server_that_goes_away_in_the_middle(file: Path, tmp_path: Path) -> None:
    server = Postgres(durable=True)
    try:
        server.start()
        target = server.create()

        def stop(done: int, total: int) -> None:
            if done > 1_500:
                server.stop()

        with pytest.raises(DatabaseUnavailable):
            await move(file, target, stop)
        server.start()
        assert not any(await rows(target))
        assert (await move(file, target, nothing))["tasks"] == 2_521
    finally:
        server.close()


async def test_nobody_writes_to_the_file_meanwhile(file: Path, target: str) -> None:
    refused: list[str] = []

    def try_to_write(done: int, total: int) -> None:
        if done == total:
            hasty = SqliteDatabase(file, busy_s=0.05)

            async def write() -> None:
                try:
                    await TaskStore(hasty, BlobStore(file.parent)).submit(new(), no_inputs)
                except DatabaseUnavailable as error:
                    refused.append(str(error))
                await hasty.close()

            alone(write)

    await move(file, target, try_to_write)
    assert refused == ["database is locked"]


async def test_a_service_that_runs_is_named(file: Path, target: str, tmp_path: Path) -> None:
    processes = Processes(file, tmp_path)
    try:
        worker = processes.start("hold", 30_000)
        await line(worker)
        assert users_of(file) == [worker.pid]
        with pytest.raises(MoveError, match=f"seems to run.*{worker.pid}.*stop it first"):
            await move(file, target, nothing)
    finally:
        processes.end()
    assert users_of(file) == []


async def test_what_cannot_be_moved(file: Path, target: str, tmp_path: Path) -> None:
    with pytest.raises(MoveError, match="there is no"):
        await move(tmp_path / "nope.db", target, nothing)
    for wrong in ("sqlite:///a.db", "mysql://user:hidden@host/db"):
        with pytest.raises(ValueError, match="postgresql://") as raised:
            await move(file, wrong, nothing)
        assert "hidden" not in str(raised.value)
    with pytest.raises(DatabaseUnavailable):
        await move(file, "postgresql://user:hidden@127.0.0.1:1/db", nothing)


async def test_rows_that_do_not_arrive_are_noticed(file: Path, target: str) -> None:
    """A trigger of somebody else's swallows one of them."""
    migrate(target)
    database = open_database(target)
    for statement in (
        "create function swallow() returns trigger language plpgsql as $$ begin return null; end $$",
        "create trigger swallow before insert on tasks for each row when (new.status = 'FAILURE') execute function swallow()",
    ):
        await database.write(lambda connection, statement=statement: connection.execute(text(statement)).close())  # type: ignore[misc]
    await database.close()
    with pytest.raises(MoveError, match="not those that were sent"):
        await move(file, target, nothing)
    assert not any(await rows(target))
