"""A look at the database that many wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """What a look found, for `fresh_ms`. Where many ask at once one looks, and all get what it found, or its failure.

    Use one on one event loop. `clock` gives milliseconds.
    """

    def __init__(self, look: Callable[[], Awaitable[T]], fresh_ms: int, clock: Callable[[], int]) -> None:
        self._look, self._fresh_ms, self._clock = look, fresh_ms, clock
        self._found: tuple[int, T] | None = None  # when it was asked for: what came since may be missing
        self._looking: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Raises what the look raised. It goes on to its end, also when who asked is cancelled."""
        now = self._clock()
        if self._found is not None and 0 <= now - self._found[0] < self._fresh_ms:
            return self._found[1]
        if self._looking is None:
            self._looking = asyncio.create_task(self._run(now))
            self._looking.add_done_callback(self._done)
        return await asyncio.shield(self._looking)

    def forget(self) -> None:
        """Whoever asks from now on gets what is found from now on."""
        self._found = self._looking = None

    async def _run(self, now: int) -> T:
        found = await self._look()
        if self._looking is asyncio.current_task():  # not forgotten meanwhile
            self._found = now, found
        return found

    def _done(self, looking: asyncio.Task[T]) -> None:
        if self._looking is looking:
            self._looking = None
        if not looking.cancelled():
            looking.exception()  # looked at, also where nobody waits any more
