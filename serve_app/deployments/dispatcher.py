"""Tells pipelines that there is work, without saying which: they claim the best waiting task themselves.

Calls are made from a task of their own, never from an HTTP handler: Ray Serve cancels the calls of a request whose
client has gone. What is in flight is bounded; the rest waits in the database, where the order can still change.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable

from serve_app.deployments.retry import pauses

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, MOST_PAUSE_S = 0.1, 5.0


class Dispatcher:
    """run_next(ticket): one call to a pipeline, true when it worked on a task. finished: told after each such call.

    A ticket names the call, not a task: whatever the call claimed is leased under it. lost(ticket): told when a call
    failed, so that the lease need not be waited for.

    After a call that failed none is made for a while, and longer each time, until one comes back: pipelines that are dead or have no
    database are not asked in a tight loop. Calls that fail together count once.
    """

    def __init__(
        self,
        run_next: Callable[[str], Awaitable[bool]],
        *,
        limit: int,
        finished: Callable[[], None],
        lost: Callable[[str], Awaitable[None]],
    ) -> None:
        self._run_next = run_next
        self.limit = limit
        self._finished = finished
        self._lost = lost
        self._wanted = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._pauses = pauses(FIRST_PAUSE_S, MOST_PAUSE_S)
        self._resume_at = float("-inf")

    @property
    def pending(self) -> int:
        """Calls in flight or still to be made."""
        return len(self._calls) + self._wanted

    def offer(self, tasks: int = 1) -> None:
        """There are `tasks` more tasks to work on. Surplus offers are harmless: a pipeline that finds none returns."""
        self._wanted += tasks
        self._wake.set()

    def cover(self, waiting: int) -> None:
        """There are `waiting` tasks in all; makes up for offers that were lost with a dead replica."""
        self.offer(max(0, waiting - self.pending))

    async def run(self) -> None:
        """Make the calls, until cancelled."""
        now = asyncio.get_running_loop().time
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted and len(self._calls) < self.limit:
                if (pause := self._resume_at - now()) > 0:
                    await asyncio.sleep(pause)
                    continue
                self._wanted -= 1
                call = asyncio.create_task(self._call())
                self._calls.add(call)
                call.add_done_callback(self._ended)

    async def _call(self) -> None:
        ticket, began = uuid.uuid4().hex, asyncio.get_running_loop().time()
        try:
            worked = await self._run_next(ticket)
        except asyncio.CancelledError:
            call = asyncio.current_task()
            if call is None or call.cancelling():
                raise
            await self._failed(ticket, began, "cancelled there")
        except Exception as error:
            await self._failed(ticket, began, type(error).__name__)
        else:
            self._pauses = pauses(FIRST_PAUSE_S, MOST_PAUSE_S)
            if worked:
                self._finished()

    async def _failed(self, ticket: str, began: float, why: str) -> None:
        if began >= self._resume_at:  # made since the last pause, if there was one: that was not long enough
            pause = next(self._pauses)
            self._resume_at = asyncio.get_running_loop().time() + pause
            logger.warning("a pipeline call failed (%s): no more calls for %.1f s", why, pause)
        try:
            await self._lost(ticket)
        except Exception as error:  # then the lease runs out by itself
            logger.debug("its lease could not be ended: %s", type(error).__name__)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._wake.set()
