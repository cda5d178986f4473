"""Requests that wait for the end of their task: `Prefer: wait=N` (RFC 7240), or options.wait."""

from __future__ import annotations

import asyncio
import re
import time

from starlette.requests import Request

from serve_app.api.schema import MAX_WAIT_S
from serve_app.tasks.database import DatabaseUnavailable
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task

MOST_WAITERS = 64  # each holds one of the requests that a replica takes at a time
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)
_LOOK_S = 0.1


def wanted_wait_s(request: Request, option_s: float) -> float:
    """Seconds, of the header or the option whichever is longer; 0 for a client that does not wait."""
    found = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(float(MAX_WAIT_S), max(option_s, float(found[1]) if found else 0.0))


class Watch:
    """Looks at tasks that another process ends."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self._waiters = 0

    async def ended(self, task: Task, owner: str | None, wait_s: float) -> Task:
        """The task once it has ended, or as it was seen last when the time is up, or at once where too many wait already."""
        if self._waiters >= MOST_WAITERS:
            return task
        self._waiters += 1
        try:
            return await self._watched(task, owner, wait_s)
        finally:
            self._waiters -= 1

    async def _watched(self, task: Task, owner: str | None, wait_s: float) -> Task:
        started = time.monotonic()
        while not task.status.terminal and (waited := time.monotonic() - started) < wait_s:
            # Who has waited for long can wait a little longer.
            await asyncio.sleep(min(max(_LOOK_S, waited / 20), wait_s - waited))
            try:
                found = await self._store.get(task.id, owner)
            except DatabaseUnavailable:
                continue  # it is accepted all the same; an error now would have the client submit it again
            if found is None:  # deleted: there is nothing to wait for
                break
            task = found
        return task
