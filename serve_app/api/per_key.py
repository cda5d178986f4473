"""How much one key has under way at a time, so that its slow requests leave room for others'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from serve_app.api.errors import Answer, ApiError


class PerKey:
    """most: at a time, of one key, in this process. what: is under way, for the reason of a refusal."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, key: str, number: int = 1) -> Iterator[None]:
        """`number` more while the block runs. Raises ApiError BUSY."""
        if number and self._taken[key] + number > self._most:
            raise ApiError(Answer.BUSY, reason=f"{self._most} of your pictures are being {self._what}. Wait for them.", retry_after=1)
        self._taken[key] += number
        try:
            yield
        finally:
            self._taken[key] -= number
            if not self._taken[key]:
                del self._taken[key]
