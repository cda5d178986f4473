"""The database of one machine: a SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from serve_app.tasks.database import DatabaseUnavailable

T = TypeVar("T")

BUSY_S = 15.0
READ = "BEGIN"
WRITE = "BEGIN IMMEDIATE"  # with a plain BEGIN, two transactions that read and then write fail at once, busy_timeout or not
_UNAVAILABLE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
)


class SqliteDatabase:
    """One SQLite file for the processes of one machine.

    All transactions of a process run on one thread, each without a pause from BEGIN to COMMIT: an event loop that is busy
    never holds the file's only write lock. A commit outlives the death of the process; a power cut may take the last ones.
    """

    def __init__(self, path: Path, *, busy_s: float = BUSY_S) -> None:
        """`busy_s`: how long a writer waits for its turn before it fails with "database is locked"."""
        self._engine = sqlite_engine(path, busy_s)
        self._reading = self._engine.execution_options(begin=READ)
        self._writing = self._engine.execution_options(begin=WRITE)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tasks-database")

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._run(self._reading, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._run(self._writing, work)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    async def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, transact, engine, work)


def transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run `work` in a transaction. Raises DatabaseUnavailable."""
    try:
        with engine.begin() as connection:
            return work(connection)
    except DBAPIError as error:
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_OK)
        if code & 0xFF in _UNAVAILABLE:  # the rest of the bits say more closely what it was
            raise DatabaseUnavailable(str(error.orig)) from error
        raise


def sqlite_engine(path: Path, busy_s: float = BUSY_S) -> Engine:
    """Its transactions begin as their execution option `begin` says: READ or WRITE. Makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Parameters stay out of error messages: they hold the URLs and words of users.
    engine = create_engine(URL.create("sqlite", database=str(path)), pool_size=1, max_overflow=0, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN loses updates; ours follows below
        connection.execute(f"PRAGMA busy_timeout = {int(busy_s * 1000)}")
        _switch_to_wal(connection, busy_s)
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options()["begin"])

    return engine


def _switch_to_wal(connection: sqlite3.Connection, busy_s: float) -> None:
    """Of two that switch a new file at once, both of which are reading it, SQLite fails one at once, busy_timeout or not."""
    until = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
