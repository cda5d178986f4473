"""Waiting for what is down: the pauses between tries, and one line in the log where there would be hundreds."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from serve_app.tasks.blobs import BlobsUnavailable
from serve_app.tasks.database import DatabaseUnavailable

T = TypeVar("T")

UNAVAILABLE = (DatabaseUnavailable, BlobsUnavailable)
FIRST_S, MOST_S = 0.1, 2.0

logger = logging.getLogger(__name__)


def pauses(first_s: float = FIRST_S, most_s: float = MOST_S) -> Iterator[float]:
    """Seconds to wait before each next try: twice as long each time, up to `most_s`, and each up to half of it shorter by chance."""
    pause = first_s
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, most_s)


class Outage:
    """Says once that something does not work and once that it works again, however often it is tried meanwhile."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since: float | None = None

    def failed(self, error: BaseException) -> None:
        if self._since is None:
            self._since = time.monotonic()
            logger.warning("%s: %s; trying again until it works", self._what, error or type(error).__name__)

    def over(self) -> None:
        """It worked."""
        if self._since is not None:
            logger.warning("%s: it works again, after %.0f s", self._what, time.monotonic() - self._since)
            self._since = None


class Patient:
    """Makes calls to the database, or to the store of the pictures, and repeats them while that is unavailable."""

    def __init__(self, what: str) -> None:
        """what: whose name the log says."""
        self._outage = Outage(what)

    async def __call__(self, call: Callable[[], Awaitable[T]], *, until: float = math.inf) -> T:
        """until: time of the event loop at which the last try is made; there is always one. Raises what the last one raised."""
        for pause in pauses():
            try:
                outcome = await call()
            except UNAVAILABLE as error:
                self._outage.failed(error)
                left = until - asyncio.get_running_loop().time()
                if left <= 0:
                    raise
            else:
                self._outage.over()
                return outcome
            await asyncio.sleep(min(pause, left))
        raise AssertionError("unreachable")


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`. A caller that is cancelled meanwhile hears of it when `work` has ended."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if not running.done():
            await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # looked at: nobody else will
        raise
