"""Where transactions run. A transaction is a plain function of a Connection; the runner decides on which thread or loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateColumn

from serve_app.tasks.schema import metadata

T = TypeVar("T")

_BUSY_S = 15.0
_READ = "BEGIN"
_WRITE = "BEGIN IMMEDIATE"  # with a plain BEGIN, two transactions that read and then write fail at once, busy_timeout or not


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Database(Protocol):
    """Runs transactions. `work` sees a Connection in a transaction that commits when it returns and rolls back when it raises."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a snapshot; it must not write."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, alone among writers of what it touches."""

    async def close(self) -> None: ...


def open_database(where: str | Path) -> Database:
    """A SQLite file, made where it is missing: its path, or a URL such as sqlite:///file.db. Raises ValueError for anything else."""
    return SqliteDatabase(_file(where))


def create_schema(where: str | Path) -> None:
    """Make the tables that are missing, and the columns and indexes that a file of an older release lacks.

    For one call before the processes that use them start; more calls do no harm.
    """
    engine = _sqlite_engine(_file(where), _BUSY_S).execution_options(begin=_WRITE)
    with engine.begin() as connection:
        _add_missing_columns(connection)
        metadata.create_all(connection)
        for table in metadata.sorted_tables:
            for index in table.indexes:
                index.create(connection, checkfirst=True)
    engine.dispose()


def _add_missing_columns(connection: Connection) -> None:
    found = inspect(connection)
    for table in (metadata.tables[name] for name in found.get_table_names() if name in metadata.tables):
        there = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {CreateColumn(column).compile(connection)}")


class SqliteDatabase:
    """One SQLite file for the processes of one machine.

    All transactions of a process run on one thread, each without a pause from BEGIN to COMMIT: an event loop that is busy
    never holds the file's only write lock. A commit outlives the death of the process; a power cut may take the last ones.
    """

    def __init__(self, path: Path, *, busy_s: float = _BUSY_S) -> None:
        """`busy_s`: how long a writer waits for its turn before it fails with "database is locked"."""
        self._engine = _sqlite_engine(path, busy_s)
        self._reading = self._engine.execution_options(begin=_READ)
        self._writing = self._engine.execution_options(begin=_WRITE)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tasks-database")

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._run(self._reading, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._run(self._writing, work)

    async def close(self) -> None:
        """Wait for the transactions under way, then close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    async def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _transact, engine, work)


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _file(where: str | Path) -> Path:
    if isinstance(where, Path):
        return where
    url = make_url(where)
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        raise ValueError(f"not a database that this service can use: {url.render_as_string(hide_password=True)}; give sqlite:///file.db")
    return Path(str(url.database))


def _sqlite_engine(path: Path, busy_s: float) -> Engine:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Parameters stay out of error messages: they hold the URLs and words of users.
    engine = create_engine(URL.create("sqlite", database=str(path)), pool_size=1, max_overflow=0, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN loses updates; ours follows below
        # First, so that the switch to WAL itself waits for another process that is doing the same.
        connection.execute(f"PRAGMA busy_timeout = {int(busy_s * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options()["begin"])

    return engine
