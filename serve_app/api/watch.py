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
    """task: as it was seen last. ended: set with its last state; with what was seen last where it was deleted."""

    task: Task
    ended: asyncio.Future[Task]


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
        """The task once it has ended, or as it was seen last when the time is up, or at once where too many wait already."""
        if task.status.terminal or len(self._waiters) >= MOST_WAITERS:
            return task
        waiter = _Waiter(task, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        if self._looks is None or self._looks.done():
            self._looks = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(wait_s):
                return await waiter.ended
        except TimeoutError:
            return waiter.task
        finally:
            self._waiters.discard(waiter)

    async def _look(self) -> None:
        while self._waiters:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._ended.wait()
            self._ended.clear()
            waiters = list(self._waiters)
            try:
                found = {task.id: task for task in await self._store.get_many([waiter.task.id for waiter in waiters])}
            except DatabaseUnavailable:  # they are accepted all the same; an error now would have the client submit them again
                await asyncio.sleep(_LOOK_S)
                continue
            for waiter in waiters:
                seen = found.get(waiter.task.id)
                waiter.task = seen or waiter.task
                if (seen is None or seen.status.terminal) and not waiter.ended.done():
                    waiter.ended.set_result(waiter.task)
            await asyncio.sleep(_PAUSE_S)
