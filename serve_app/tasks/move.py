"""Moves the tasks, callbacks, keys and usage of a SQLite file to PostgreSQL: wholly, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import Connection, Table, func, insert, select, text

from serve_app.tasks import postgres, sqlite
from serve_app.tasks.database import address, is_sqlite, shown
from serve_app.tasks.migrate import migrate
from serve_app.tasks.schema import callbacks, keys, tasks, usage
from serve_app.tasks.tallies import add_up

Progress: TypeAlias = Callable[[int, int], None]  # rows done, rows in all
Counts: TypeAlias = dict[str, int]

TABLES: tuple[Table, ...] = (keys, usage, tasks, callbacks)  # tallies are made anew by the rows that come
_AT_ONCE = 1_000
_STATEMENT_S = 600.0


class MoveError(Exception):
    """Nothing was moved; the message says why, for people."""


async def move(file: Path, target: str, progress: Progress) -> Counts:
    """How many rows of each table were moved. The file stays as it is, and nobody can write to it meanwhile.

    One transaction on either side: what is interrupted has moved nothing and can be made again. Raises MoveError, ValueError for a
    target that is no PostgreSQL URL, DatabaseUnavailable, DatabaseTooNew.
    """
    if is_sqlite(target):
        raise ValueError(f"{shown(target)} is a SQLite file; give postgresql://user:password@host/database")
    if not file.exists():
        raise MoveError(f"there is no {file}")
    if users := users_of(file):
        raise MoveError(f"a service seems to run on {file} (process {', '.join(map(str, users))}); stop it first")
    migrate(file)
    migrate(target)
    source = sqlite.sqlite_engine(file).execution_options(begin=sqlite.WRITE)  # the lock: a service that starts now has to wait
    engine = postgres.postgres_engine(address(target), connections=1, statement_s=_STATEMENT_S)
    try:
        with source.begin() as reading:
            return await postgres.transact(engine, lambda writing: _move(reading, writing, progress))
    finally:
        source.dispose()
        await engine.dispose()


def users_of(file: Path) -> list[int]:
    """Other processes of this machine that have the file open, as far as this user may see them."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link) == str(file.resolve()):
                found.add(int(link.parts[2]))
    return sorted(found - {os.getpid()})


def _move(source: Connection, target: Connection, progress: Progress) -> Counts:
    names = ", ".join(table.name for table in TABLES)
    target.execute(text(f"lock table {names} in exclusive mode")).close()  # readers go on; a service there has to wait
    there = _counts(target)
    if any(there.values()):
        held = ", ".join(f"{number:,} {name}" for name, number in there.items() if number)
        raise MoveError(f"the target has rows already ({held}); nothing is ever written over. Give an empty database")
    wanted = _counts(source)
    total, done = sum(wanted.values()), 0
    progress(0, total)
    for table in TABLES:
        rows = source.execution_options(yield_per=_AT_ONCE).execute(select(table).order_by(*table.primary_key.columns))
        for some in rows.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in some])
            done += len(some)
            progress(done, total)
    moved = _counts(target)
    if moved != wanted or _by_status(source) != _by_status(target):
        raise MoveError(f"the rows that arrived are not those that were sent: {moved} instead of {wanted}")
    add_up(target)
    return moved


def _counts(connection: Connection) -> Counts:
    return {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in TABLES}


def _by_status(connection: Connection) -> list[tuple[object, ...]]:
    """What would show that rows are others than they were: statuses, and sums of what counts claims."""
    query = select(tasks.c.status, func.count(), func.sum(tasks.c.fence), func.sum(tasks.c.submit_time)).group_by(tasks.c.status)
    return sorted((row[0], *(int(number) for number in row[1:])) for row in connection.execute(query))
