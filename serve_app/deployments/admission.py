"""How much is worked on at a time, by what it costs in memory: decoded pixels."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
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
        self._waiting: deque[_Wish] = deque()

    def resize(self, total: int) -> None:
        """From now on. What is lent stays lent; nothing more is until it fits."""
        self._free += total - self._total
        self._total = total
        self._next()

    @contextlib.asynccontextmanager
    async def lend(self, amount: int) -> AsyncIterator[None]:
        """Wait for `amount`, and have it while the block runs."""
        wish = _Wish(amount, asyncio.get_running_loop().create_future())
        self._waiting.append(wish)
        self._next()
        try:
            await wish.turn
            yield
        finally:
            if wish.turn.cancelled():  # while it waited
                self._waiting = deque(other for other in self._waiting if other is not wish)
            else:
                self._free += wish.amount
            self._next()

    def _next(self) -> None:
        while self._waiting and (self._waiting[0].turn.cancelled() or min(self._waiting[0].amount, self._total) <= self._free):
            wish = self._waiting.popleft()
            if not wish.turn.cancelled():
                wish.amount = min(wish.amount, self._total)
                self._free -= wish.amount
                wish.turn.set_result(None)


@dataclass(eq=False, slots=True)
class _Wish:
    """amount: what is wished for, and then what was lent."""

    amount: int
    turn: asyncio.Future[None]


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
