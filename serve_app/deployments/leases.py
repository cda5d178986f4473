"""The claims that a pipeline is working on: each is renewed, and all are looked after, so that lost work is left at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from serve_app.deployments.retry import Outage, pauses, to_its_end
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task

logger = logging.getLogger(__name__)

LOOK_S = 1.0


class TaskLost(Exception):
    """The task was cancelled or deleted, has failed, or is somebody else's now: nothing more is done for it here."""


@dataclass(eq=False, slots=True)
class Lease:
    """A claim at work. settling: its end is being written. Then nobody interrupts it: that write itself says whose the task is."""

    task: Task
    body: asyncio.Task[object]
    settling: bool = False
    lost: bool = False


class Leases:
    """Two ways to learn that a claim is lost: its renewal is refused, and one read in LOOK_S for all claims of this process.

    The read finds what was cancelled or ended, and leaves the database alone otherwise. A database that cannot be asked says nothing:
    the work goes on, also past the lease, and whether it was still ours is decided when its end is written.
    """

    def __init__(self, store: TaskStore, *, lease_s: float, renew_s: float) -> None:
        self._store = store
        self._lease_s, self._renew_s = lease_s, renew_s
        self._working: set[Lease] = set()
        self._watch: asyncio.Task[None] | None = None
        self._outage = Outage("leases")

    @contextlib.asynccontextmanager
    async def kept(self, task: Task) -> AsyncIterator[Lease]:
        """Keeps the claim while the body runs. A body whose claim was lost is cancelled, which ends in TaskLost."""
        body = asyncio.current_task()
        assert body is not None
        lease = Lease(task, body)
        self._working.add(lease)
        renewal = asyncio.create_task(self._renew(lease))
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look())
        try:
            yield lease
        except asyncio.CancelledError:
            if lease.lost and not body.uncancel():  # otherwise somebody cancels this call as well
                raise TaskLost from None
            renewal.cancel()
            # A drained replica: give the task back at once instead of letting the lease run out.
            await to_its_end(self._give_back(task))
            raise
        finally:
            self._working.discard(lease)
            renewal.cancel()

    async def give_back(self) -> int:
        """All claims at once, whose bodies are cancelled, but for those whose end is being written. How many."""
        bodies = [lease.body for lease in self._working if not lease.settling]
        for body in bodies:
            body.cancel()
        if bodies:
            await asyncio.wait(bodies)
        return len(bodies)

    async def _renew(self, lease: Lease) -> None:
        pause, waits = self._renew_s, pauses()
        while True:
            await asyncio.sleep(pause)
            try:
                kept = await self._store.renew(lease.task, self._lease_s)
            except Exception as error:
                self._outage.failed(error)
                pause = min(next(waits), self._renew_s)
                continue
            self._outage.over()
            if not kept:
                return self._lose(lease)
            pause, waits = self._renew_s, pauses()

    async def _look(self) -> None:
        while self._working:
            await asyncio.sleep(LOOK_S)
            leases = list(self._working)
            try:
                held = await self._store.held([lease.task for lease in leases])
            except Exception as error:
                self._outage.failed(error)
                continue
            self._outage.over()
            for lease in leases:
                if lease.task.id not in held:
                    self._lose(lease)

    def _lose(self, lease: Lease) -> None:
        if lease in self._working and not lease.settling and not lease.lost:
            lease.lost = True
            lease.body.cancel()

    async def _give_back(self, task: Task) -> None:
        try:
            await self._store.release(task)
        except Exception as error:
            logger.warning("task %s could not be given back (%s): it waits for its lease to run out", task.id, error)
