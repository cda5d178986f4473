"""How long a call takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def timed(act: Callable[[], object]) -> Callable[[], float]:
    """A function that calls `act` and says how many seconds it took."""

    def seconds() -> float:
        start = time.perf_counter()
        act()
        return time.perf_counter() - start

    return seconds
