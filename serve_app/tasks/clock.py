"""One time for all nodes: leases and deadlines are judged by others than those who set them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy import Connection, func, select

from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.shared import Shared

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_FRESH_MS = 5_000
_MUCH_MS = 5_000
# Not now(), which stands still in a transaction.
_ASK = select(func.extract("epoch", func.clock_timestamp()) * 1000)

_log = logging.getLogger(__name__)


class DatabaseClock:
    """Milliseconds since the epoch by the clock of PostgreSQL: that of this machine, and what it was found to be off by.

    Called before it was ever measured, it says what this machine says; see `time_of`. `local`: the clock of this machine.
    """

    def __init__(self, database: Database, local: Callable[[], int] = now_ms) -> None:
        self._database, self._local = database, local
        self._measured = Shared(self._measure, _FRESH_MS, lambda: time.monotonic_ns() // 1_000_000)
        self._offset_ms = 0
        self._warned = False

    def __call__(self) -> int:
        return self._local() + self._offset_ms

    async def measured(self) -> int:
        """Milliseconds by which the database is ahead of this machine, found at most a few seconds ago. Raises DatabaseUnavailable."""
        return await self._measured.get()

    async def _measure(self) -> int:
        offset, doubt = await self._database.read(self._ask)
        if abs(offset - self._offset_ms) > doubt:  # otherwise it may be right as it is, and time does not jump back and forth
            self._offset_ms = offset
        if abs(self._offset_ms) > _MUCH_MS and not self._warned:
            self._warned = True
            _log.warning("the clock of this machine is %.1f s off that of the database, whose time counts", -self._offset_ms / 1000)
        return self._offset_ms

    def _ask(self, connection: Connection) -> tuple[int, int]:
        """The offset, as if the server had looked in the middle of the round trip, and by how much that may be wrong."""
        before = self._local()
        there = connection.execute(_ASK).scalar_one()
        after = self._local()
        return round(float(there) - (before + after) / 2), (after - before + 1) // 2 + 1


def clock_of(database: Database) -> Callable[[], int]:
    """What says the time to all who use this database: its own clock where that may be another machine's."""
    from serve_app.tasks.postgres import PostgresDatabase

    return DatabaseClock(database) if isinstance(database, PostgresDatabase) else now_ms


async def time_of(clock: Callable[[], int]) -> int:
    """What it says once it is right. Raises DatabaseUnavailable where it has to ask and cannot."""
    if isinstance(clock, DatabaseClock):
        await clock.measured()
    return clock()


def ms(seconds: float) -> int:
    return int(seconds * 1000)
