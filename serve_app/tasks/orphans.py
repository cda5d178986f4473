"""Results that their task does not name: a worker died between the picture and the commit."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import aclosing

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.clock import DAY_MS, HOUR_MS, time_of
from serve_app.tasks.database import now_ms
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task

PERIOD_MS = HOUR_MS
FIRST_LOOK_MS = 7 * DAY_MS  # what a service that starts looks back
_OVERLAP_MS = HOUR_MS


class Orphans:
    """Looks once an hour at what was submitted since its last look and more than an hour ago, first within ten minutes of its start.

    A picture whose task is in no row is left alone: the database may be the wrong one, or the bucket somebody else's too.

    results_days: what is older by a day is deleted whoever has it; None: nothing is. `clock` gives milliseconds since the epoch.
    """

    def __init__(self, store: TaskStore, blobs: BlobStore, *, results_days: float | None, clock: Callable[[], int] = now_ms) -> None:
        self._store = store
        self._blobs = blobs
        self._keep_ms = None if results_days is None else int((results_days + 1) * DAY_MS)
        self._clock = clock
        self._next = clock() + int(random.uniform(0, PERIOD_MS / 6))  # replicas that start together do not look together
        self._seen: int | None = None

    async def delete(self) -> int:
        """How many were deleted; 0 at once while it is not time yet. Raises BlobsUnavailable, DatabaseUnavailable."""
        now = await time_of(self._clock)
        if now < self._next:
            return 0
        until = now - HOUR_MS
        since = until - FIRST_LOOK_MS if self._seen is None else self._seen - _OVERLAP_MS
        deleted = await self._between(since, until)
        if self._keep_ms is not None:
            deleted += await self._before(now - self._keep_ms)
        await self._blobs.tidy(until)
        self._seen, self._next = until, now + int(PERIOD_MS * random.uniform(0.8, 1.2))
        return deleted

    async def _between(self, since: int, until: int) -> int:
        deleted = 0
        async with aclosing(self._blobs.results(since, until)) as portions:
            async for keys in portions:
                owners = {key: _id(key) for key in keys}
                tasks = {task.id: task for task in await self._store.get_many(list(owners.values()))}  # after the listing: rows only gain
                orphans = [key for key, id in owners.items() if id in tasks and _forgotten(tasks[id], key)]
                await self._blobs.delete(*orphans)
                deleted += len(orphans)
        return deleted

    async def _before(self, time: int) -> int:
        deleted = 0
        async with aclosing(self._blobs.results(0, time)) as portions:
            async for keys in portions:
                await self._blobs.delete(*keys)
                deleted += len(keys)
        return deleted


def _forgotten(task: Task, key: str) -> bool:
    """While a task runs, the commit that names the picture may come yet."""
    return task.status.terminal and task.result != key


def _id(key: str) -> str:
    return key.rpartition("/")[2].partition("-")[0]
