"""How much is worked on at a time, by what it costs in memory: decoded pixels."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from serve_app.vision.header import ImageError, read_container

P = ParamSpec("P")
T = TypeVar("T")


class Budget:
    """`total` of something, lent in the order in which it is asked for. Who wants more than there is at all goes alone.

    In order, so that a large request is not overtaken by small ones for ever. Whole numbers, so that nothing is lost to rounding.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def lend(self, amount: int) -> AsyncIterator[None]:
        """Wait for `amount`, and have it while the block runs."""
        amount = min(amount, self._total)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        self._next()
        try:
            await turn
            yield
        finally:
            if turn.cancelled():  # while it waited
                self._waiting = deque(other for other in self._waiting if other[1] is not turn)
            else:
                self._free += amount
            self._next()

    def _next(self) -> None:
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self._free):
            amount, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._free -= amount
                turn.set_result(None)


class Crew:
    """Threads of a pool at work for one task; `swap.InThread`. The block ends when the last of them has: until then they hold pixels."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._works: list[Future[Any]] = []

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        future = self._pool.submit(work, *args, **kwargs)
        self._works.append(future)
        return asyncio.wrap_future(future)

    async def __aenter__(self) -> Crew:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        left = [asyncio.wrap_future(work) for work in self._works if not work.done()]
        await asyncio.gather(*left, return_exceptions=True)


def pixels(*pictures: bytes) -> int:
    """Of picture files, together, from their headers. What is no picture counts nothing: it will not be decoded.

    Floating point counts fourfold, as it is so large while it is decoded.
    """
    total = 0
    for data in pictures:
        with contextlib.suppress(ImageError):
            container = read_container(data)
            total += container.width * container.height * (4 if container.real else 1)
    return total
