"""How long results and tasks are kept after their end. In portions, so that nobody waits for long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sqlalchemy import Connection, Select, bindparam, select, update

from serve_app.tasks import transitions
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.clock import DAY_MS, time_of
from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.schema import finished, tasks, with_result

PORTION = 200  # rows a transaction
PORTIONS = 50  # of each kind in a round; the next round goes on

_old = tasks.c.finish_time <= bindparam("before")
_among = tasks.c.id.in_(bindparam("ids", expanding=True))
_oldest = (tasks.c.finish_time, tasks.c.id)
_OLD_RESULTS = select(tasks.c.id, tasks.c.result).where(with_result, _old).order_by(*_oldest).limit(PORTION)
_OLD_TASKS = select(tasks.c.id, tasks.c.result).where(finished, _old).order_by(*_oldest).limit(PORTION)
_FORGET = update(tasks).where(_among).values(result=None)


@dataclass(frozen=True, slots=True)
class Removed:
    """How many in one round."""

    results: int
    tasks: int


class _LetGo(Protocol):
    """A transaction that ends what is kept for these tasks."""

    def __call__(self, connection: Connection, ids: Sequence[str]) -> object: ...


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
        results = await self._all(self._results_days, _OLD_RESULTS, _forget)
        rows = await self._all(self._tasks_days, _OLD_TASKS, transitions.remove)
        return Removed(results, rows)

    async def _all(self, days: float | None, old: Select[tuple[str, str | None]], let_go: _LetGo) -> int:
        if days is None:
            return 0
        before, removed = await time_of(self._clock) - int(days * DAY_MS), 0
        for _ in range(PORTIONS):
            found = await self._database.read(partial(_find, statement=old, before=before))
            if found:  # the bytes first: what dies in between is done again
                await self._blobs.delete(*(key for key in found.values() if key))
                await self._database.write(partial(let_go, ids=list(found)))
            removed += len(found)
            if len(found) < PORTION:
                break
        return removed


def _find(connection: Connection, statement: Select[tuple[str, str | None]], before: int) -> dict[str, str | None]:
    """Keys of results by the ids of their tasks."""
    return {row.id: row.result for row in connection.execute(statement, {"before": before})}


def _forget(connection: Connection, ids: Sequence[str]) -> None:
    connection.execute(_FORGET, {"ids": ids})
