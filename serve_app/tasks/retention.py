"""How long results and tasks are kept after their end. In portions, so that nobody waits for long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Select, bindparam, delete, select, update

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.clock import time_of
from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.schema import callbacks, finished, tasks, with_result

PORTION = 200  # rows a transaction
PORTIONS = 50  # of each kind in a round; the next round goes on
DAY_MS = 86_400_000

_old = tasks.c.finish_time <= bindparam("before")
_among = tasks.c.id.in_(bindparam("ids", expanding=True))
_oldest = (tasks.c.finish_time, tasks.c.id)
_OLD_RESULTS = select(tasks.c.id, tasks.c.result).where(with_result, _old).order_by(*_oldest).limit(PORTION)
_OLD_TASKS = select(tasks.c.id, tasks.c.result).where(finished, _old).order_by(*_oldest).limit(PORTION)
_FORGET = update(tasks).where(_among).values(result=None)
_REMOVE = delete(tasks).where(_among, finished)
_REMOVE_CALLBACKS = delete(callbacks).where(callbacks.c.task_id.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True, slots=True)
class Removed:
    """How many in one round."""

    results: int
    tasks: int


class Retention:
    """results_days, tasks_days: counted from the end of a task; None: for ever. `clock` gives milliseconds since the epoch.

    Any number of processes may apply it at once.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        results_days: float | None,
        tasks_days: float | None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._results_days = results_days
        self._tasks_days = tasks_days
        self._clock = clock

    async def apply(self) -> Removed:
        """Remove what is too old, oldest first: at most PORTIONS portions of each kind. Raises BlobsUnavailable, DatabaseUnavailable."""
        results = 0 if self._results_days is None else await self._all(self._results, self._results_days)
        rows = 0 if self._tasks_days is None else await self._all(self._tasks, self._tasks_days)
        return Removed(results, rows)

    async def _all(self, portion: Callable[[int], Awaitable[int]], days: float) -> int:
        before, removed = await time_of(self._clock) - int(days * DAY_MS), 0
        for _ in range(PORTIONS):
            number = await portion(before)
            removed += number
            if number < PORTION:
                break
        return removed

    async def _results(self, before: int) -> int:
        """The bytes first: what dies in between is done again."""
        found = await self._database.read(partial(_find, statement=_OLD_RESULTS, before=before))
        if found:
            await self._blobs.delete(*(key for key in found.values() if key))
            await self._database.write(partial(_forget, ids=list(found)))
        return len(found)

    async def _tasks(self, before: int) -> int:
        found = await self._database.read(partial(_find, statement=_OLD_TASKS, before=before))
        if found:
            await self._blobs.delete(*(key for key in found.values() if key))
            await self._database.write(partial(_remove, ids=list(found)))
        return len(found)


def _find(connection: Connection, statement: Select[tuple[str, str | None]], before: int) -> dict[str, str | None]:
    """Keys of results by the ids of their tasks."""
    return {row.id: row.result for row in connection.execute(statement, {"before": before})}


def _forget(connection: Connection, ids: list[str]) -> None:
    connection.execute(_FORGET, {"ids": ids})


def _remove(connection: Connection, ids: list[str]) -> None:
    # The rows first, as everywhere: see transitions.remove.
    connection.execute(_REMOVE, {"ids": ids})
    connection.execute(_REMOVE_CALLBACKS, {"ids": ids})
