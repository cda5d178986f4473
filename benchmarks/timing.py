"""How long a call takes, and doing things for so long."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator


def timed(act: Callable[[], object]) -> Callable[[], float]:
    """A function that calls `act` and says how many seconds it took."""

    def seconds() -> float:
        start = time.perf_counter()
        act()
        return time.perf_counter() - start

    return seconds


def rounds(seconds: float) -> Iterator[int]:
    """0, 1, 2, ... for so many seconds; at least 0."""
    until = time.monotonic() + seconds
    for number in itertools.count():
        if number and time.monotonic() >= until:
            return
        yield number
