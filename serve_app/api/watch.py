"""Requests that wait for the end of their task: `Prefer: wait=N` (RFC 7240), or options.wait."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass

from starlette.requests import Request

from serve_app.api.schema import MAX_WAIT_S
from serve_app.tasks.database import DatabaseUnavailable
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task

MOST_WAITERS = 64  # each holds one of the requests that a replica takes at a time
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)
_LOOK_S = 0.1
_PAUSE_S = 0.02  # between two looks, however many tasks end


def wanted_wait_s(request: Request, option_s: float) -> float:
    """Seconds, of the header or the option whichever is longer; 0 for a client that does not wait."""
    found = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(float(MAX_WAIT_S), max(option_s, float(found[1]) if found else 0.0))


@dataclass(eq=False, slots=True)
class _Waiter:
    """ended: set when the task has ended, or was deleted."""

    id: str
    ended: asyncio.Future[None]


class Watch:
    """Looks at tasks that another process ends: one look for all who wait, when a call of this process has ended one (`wake`), and every
    _LOOK_S, for other processes make calls as well."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._waiters: set[_Waiter] = set()
        self._looks: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    def wake(self) -> None:
        """Some task has ended."""
        self._ended.set()

    async def ended(self, task: Task, wait_s: float) -> Task:
        """The task once it has ended, or as it is when the time is up, or as it was given at once where too many wait already.

        As it was given also where it was deleted, or the database is away: its submit was accepted all the same.
        """
        if task.status.terminal or len(self._waiters) >= MOST_WAITERS:
            return task
        waiter = _Waiter(task.id, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        if self._looks is None or self._looks.done():
            self._looks = asyncio.create_task(self._look())
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await waiter.ended
        finally:
            self._waiters.discard(waiter)
        with suppress(DatabaseUnavailable):
            return await self._store.get(task.id) or task
        return task

    async def _look(self) -> None:
        while self._waiters:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._ended.wait()
            self._ended.clear()
            waiters = list(self._waiters)
            try:
                unfinished = await self._store.unfinished_among([waiter.id for waiter in waiters])
            except DatabaseUnavailable:  # an error now would have the clients submit again
                await asyncio.sleep(_LOOK_S)
                continue
            for waiter in waiters:
                if waiter.id not in unfinished and not waiter.ended.done():
                    waiter.ended.set_result(None)
            await asyncio.sleep(_PAUSE_S)
