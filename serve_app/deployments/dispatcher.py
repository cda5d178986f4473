"""Tells pipelines that there is work, without saying which: they claim the best waiting task themselves.

Calls are made from a task of their own, never from an HTTP handler: Ray Serve cancels the calls of a request whose
client has gone. What is in flight is bounded; the rest waits in the database, where the order can still change.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


class Dispatcher:
    """run_next(ticket): one call to a pipeline, true when it worked on a task. finished: told after each such call.

    A ticket names the call, not a task: whatever the call claimed is leased under it. lost(ticket): told when a call
    failed, so that the lease need not be waited for.
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
        self._limit = limit
        self._finished = finished
        self._lost = lost
        self._wanted = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

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
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted and len(self._calls) < self._limit:
                self._wanted -= 1
                call = asyncio.create_task(self._call())
                self._calls.add(call)
                call.add_done_callback(self._ended)

    async def _call(self) -> None:
        ticket = uuid.uuid4().hex
        try:
            if await self._run_next(ticket):
                self._finished()
        except Exception as error:
            logger.warning("a pipeline call failed: %s", type(error).__name__)
            try:
                await self._lost(ticket)
            except Exception as again:  # then the lease runs out by itself
                logger.warning("its lease could not be ended: %s", type(again).__name__)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._wake.set()
