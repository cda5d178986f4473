"""What every Ingress replica does now and then, so that nothing depends on a process that may have died: tasks end, or are worked on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

from serve_app.deployments.retry import UNAVAILABLE, Outage
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import DatabaseUnavailable
from serve_app.tasks.store import TaskStore

logger = logging.getLogger(__name__)

OVERDUE_AT_A_TIME = 100
START_S = 1.0
DELETE_S = 2.0


class Recovery:
    """cover: told how many tasks wait. ended: told when tasks have ended here. limit: expired leases taken back at a time.

    settle_s: how long a database must have been back before expired leases are taken. While it was down nobody could renew, so those
    who work on still are given the time to do it first. now: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        store: TaskStore,
        blobs: BlobStore,
        *,
        cover: Callable[[int], None],
        ended: Callable[[], None],
        limit: int,
        settle_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._cover = cover
        self._ended = ended
        self.limit = limit
        self._settle_s = settle_s
        self._now = now
        self._settled_at = -math.inf  # inf: the database is down, as far as is known

    async def look(self) -> None:
        """Tasks past their deadline end; all others are worked on, also if the replica that accepted or claimed them is gone.

        Raises DatabaseUnavailable, as `lost` does.
        """
        ended: list[str] = []
        try:
            with self._unsettled_by_outage():
                await self._end_overdue(ended)
                await self._take_up()
        finally:
            await self._delete_inputs(ended)

    async def lost(self, ticket: str) -> None:
        """A call died with its pipeline: what it had claimed waits again at once."""
        with self._unsettled_by_outage():
            await self._store.expire(ticket)
            await self._take_up()

    async def _take_up(self) -> None:
        if self._settled_at == math.inf:
            self._settled_at = self._now() + self._settle_s
        if self._now() >= self._settled_at:
            await self._store.take_expired(self.limit)
        self._cover(await self._store.count_waiting())

    @contextlib.contextmanager
    def _unsettled_by_outage(self) -> Iterator[None]:
        try:
            yield
        except DatabaseUnavailable:
            self._settled_at = math.inf
            raise

    async def _end_overdue(self, ended: list[str]) -> None:
        """Their ids are added to `ended`, also when a later portion raises."""
        while ids := await self._store.fail_overdue(OVERDUE_AT_A_TIME):
            logger.info("ended %d tasks that were past their deadline", len(ids))
            ended += ids
            self._ended()

    async def _delete_inputs(self, ended: Sequence[str]) -> None:
        """Last, only as long as the store answers, and not for long: neither one that hangs nor a thousand files keep tasks from ending."""
        until = time.monotonic() + DELETE_S
        for left, id in zip(range(len(ended), 0, -1), ended, strict=True):
            if time.monotonic() > until:
                logger.info("the pictures of %d ended tasks are left to the sweep", left)
                return
            try:
                await self._blobs.delete_inputs(id)
            except Exception as error:
                logger.warning("the pictures of %d ended tasks are left to the sweep: %s", left, error or type(error).__name__)
                return


@contextlib.asynccontextmanager
async def meanwhile(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Each goes on beside the block, and ends with it."""
    loops = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


async def every(period_s: float, what: str, work: Callable[[], Awaitable[None]]) -> None:
    """`work` soon after the start and then every `period_s`, both a little by chance: replicas must not all look at once.

    While the database or the store of the pictures is down, the log has one line of it.
    """
    outage = Outage(what)
    await asyncio.sleep(random.uniform(0, min(period_s, START_S)))
    while True:
        try:
            await work()
            outage.over()
        except UNAVAILABLE as error:
            outage.failed(error)
        except Exception:
            logger.exception("%s failed; trying again", what)
        await asyncio.sleep(period_s * random.uniform(0.8, 1.2))
