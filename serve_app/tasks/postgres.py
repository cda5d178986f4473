"""The database of a cluster: PostgreSQL 15 or later, by asyncpg."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from serve_app.tasks.database import CommitUnknown, DatabaseUnavailable

T = TypeVar("T")

CONNECT_S = 5.0
STATEMENT_S = 15.0
_TRIES = 5
# A transaction that the server ended because of another one: it left nothing behind and may be run again.
_CROSSED = {"40001", "40P01"}  # serialization_failure, deadlock_detected
# The server, or the way to it, is the matter; the statement is not. Classes of SQLSTATE, and some single ones.
_UNAVAILABLE_CLASSES = {"08", "28", "53", "57", "58"}  # connection, credentials, resources, intervention, system
_UNAVAILABLE = {*_CROSSED, "3D000", "25006", "55P03"}  # no such database, read-only (a standby), lock_timeout

_log = logging.getLogger(__name__)


class PostgresDatabase:
    """A PostgreSQL database for the processes of any number of machines.

    Writes run at READ COMMITTED: every one of them is a compare-and-set on rows that it locks, and a statement that had to wait looks at
    the row as the other left it. Above that level the same statement would fail and the whole transaction start again. Reads run at
    REPEATABLE READ, READ ONLY: one snapshot for all statements of a page, and no locks.

    A connection that the server dropped while it idled is noticed by the next transaction, which is then run on a new one; so a restart
    of the server costs errors only while it is down.
    """

    def __init__(
        self, url: URL, *, connections: int = 8, wait_s: float = 10.0, statement_s: float = STATEMENT_S, connect_s: float = CONNECT_S
    ) -> None:
        """connections: at most so many per process. wait_s: for one of them, and for a lock. statement_s: for a statement."""
        self._engine = postgres_engine(url, connections=connections, wait_s=wait_s, statement_s=statement_s, connect_s=connect_s)
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._under_way: set[asyncio.Task[Any]] = set()

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._run(self._reading, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._run(self._engine, work)

    async def close(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._engine.dispose()

    async def _run(self, engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
        running = asyncio.create_task(transact(engine, work))
        self._under_way.add(running)
        running.add_done_callback(self._done)
        return await asyncio.shield(running)

    def _done(self, running: asyncio.Task[Any]) -> None:
        self._under_way.discard(running)
        if not running.cancelled():
            running.exception()  # looked at, also where the caller is gone


async def transact(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    """Run `work` in a transaction, and again where that can do no harm. Raises DatabaseUnavailable."""
    reading = bool(engine.get_execution_options().get("postgresql_readonly"))
    for attempt in range(1, _TRIES + 1):
        committing = committed = False
        try:
            async with engine.connect() as connection:
                result = await connection.run_sync(work)
                committing = True
                await connection.commit()
                committed = True
                return result
        except (DBAPIError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if committed or (committing and reading):  # it is only that the connection could not be given back
                return result
            state, lost = _state(error), isinstance(error, DBAPIError) and error.connection_invalidated
            if committing and not _is_refused(state):
                raise CommitUnknown(f"PostgreSQL: {_name(error)} during a commit") from None
            if attempt < _TRIES and (state in _CROSSED or lost):
                _log.info("a transaction is run again: %s", _name(error))
                continue
            if lost or not isinstance(error, DBAPIError) or _is_unavailable(state):
                raise DatabaseUnavailable(f"PostgreSQL: {_name(error)}") from None
            raise _without_values(error, state) from None
    raise AssertionError("unreachable")


def postgres_engine(
    url: URL,
    *,
    connections: int = 8,
    wait_s: float = 10.0,
    statement_s: float = STATEMENT_S,
    connect_s: float = CONNECT_S,
) -> AsyncEngine:
    """Makes no connection yet."""
    server = {
        "application_name": "faceswap",
        "statement_timeout": _ms(statement_s),
        "lock_timeout": _ms(wait_s),
        # Nothing of ours pauses inside a transaction: such a one belongs to a process that was stopped, and it holds locks.
        "idle_in_transaction_session_timeout": _ms(2 * statement_s),
        "jit": "off",  # compiling costs more than any of our statements
        # All that is asked for often goes by an index. Statistics of an hour when much was waiting would have it read the whole table.
        "enable_seqscan": "off",
    }
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=wait_s,
        pool_recycle=1800,
        pool_use_lifo=True,  # those that are not needed grow old and are let go of
        hide_parameters=True,  # they hold the URLs and words of users
        # command_timeout is for a server that has gone without a word: all others hear of statement_timeout first.
        connect_args={"timeout": connect_s, "command_timeout": statement_s + 5, "server_settings": server},
    )


def _state(error: BaseException) -> str:
    """SQLSTATE, or nothing."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def _is_refused(state: str) -> bool:
    """Is it certain that the commit has not happened and will not? So it is when another transaction or a rule was in its way."""
    return state in _CROSSED or state[:2] == "23"


def _is_unavailable(state: str) -> bool:
    return state in _UNAVAILABLE or state[:2] in _UNAVAILABLE_CLASSES


def _name(error: BaseException) -> str:
    """What it was, without a word of the server's or the system's: those quote users, addresses and values."""
    driver = getattr(error, "orig", None)
    return type(getattr(driver, "__cause__", None) or driver or error).__name__


def _without_values(error: DBAPIError, state: str) -> DBAPIError:
    """The server's words only where they are about tables and statements (class 42): others quote what users sent."""
    words = f"{_name(error)}: {error.orig}" if state.startswith("42") else _name(error)
    return type(error)(error.statement, None, Exception(words), hide_parameters=True)


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
