"""Where transactions run. A transaction is a plain function of a Connection; the runner decides on which thread or loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

T = TypeVar("T")

_USE = "give sqlite:///file.db or postgresql://user:password@host/database"


class DatabaseUnavailable(Exception):
    """The database cannot be reached, or has no room or no time for this. It may work later.

    The transaction has left nothing behind, but for CommitUnknown.
    The text names no parameter, no address and no password.
    """


class CommitUnknown(DatabaseUnavailable):
    """The connection broke during the commit: the transaction has happened, or has not, or will yet."""


class Database(Protocol):
    """Runs transactions. `work` sees a Connection in a transaction that commits when it returns and rolls back when it raises.

    A database may run `work` more than once, of which one run counts: it must have no effect but through its connection.
    Once begun, a transaction goes on to its end, also when its caller is cancelled. Use one on one event loop.
    Both raise DatabaseUnavailable.
    """

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a snapshot; it must not write."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, alone among writers of what it touches."""

    async def close(self) -> None:
        """Wait for the transactions under way, then let go of the connections."""


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def open_database(where: str | Path) -> Database:
    """A SQLite file, made where it is missing, by its path or a URL such as sqlite:///file.db; or postgresql://user:password@host/database.

    Connects when it is used. Raises ValueError for anything else.
    """
    from serve_app.tasks.postgres import PostgresDatabase
    from serve_app.tasks.sqlite import SqliteDatabase

    url = address(where)
    return SqliteDatabase(Path(str(url.database))) if is_sqlite(url) else PostgresDatabase(url)


def address(where: str | Path | URL) -> URL:
    """The URL of a database that this service can use. Raises ValueError, which shows no password."""
    if isinstance(where, Path):
        return URL.create("sqlite", database=str(where))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):  # its text would have the whole URL
        raise ValueError(f"not a database URL; {_USE}") from None
    # Any driver that it names: ours is the one that is installed.
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        return url.set(drivername="sqlite")
    if url.drivername.partition("+")[0] in ("postgresql", "postgres") and url.database:
        return url.set(drivername="postgresql")
    raise ValueError(f"not a database that this service can use: {shown(url)}; {_USE}")


def is_sqlite(where: str | Path | URL) -> bool:
    """A file of one machine. Raises ValueError."""
    return address(where).drivername == "sqlite"


def missing(where: str | Path) -> bool:
    """Is it a file that nobody has made yet? Raises ValueError."""
    url = address(where)
    return is_sqlite(url) and not Path(str(url.database)).exists()


def shown(where: str | Path | URL) -> str:
    """For people and logs: without the password and without options, which may hold one as well. Raises ValueError."""
    if isinstance(where, Path):
        return str(where)
    url = where if isinstance(where, URL) else address(where)
    if url.drivername == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)
