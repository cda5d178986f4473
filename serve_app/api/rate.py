"""How often: submits of a key and of an address, and wrong keys of an address. Each process counts for itself."""

from __future__ import annotations

import functools
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

import limits
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from serve_app.api.config import RateConfig
from serve_app.api.errors import Answer, ApiError

_MAX_COUNTED = 5_000  # the library looks at all of them at each hit: 0.4 ms
_MAX_KNOWN = 10_000
_parsed = functools.cache(limits.parse)


class Rates:
    """Addresses as origin.client_address gives them.

    An address that has sent too many wrong keys may not even try, so that nobody can guess; but a key that was right from there before
    goes on being right: behind a proxy that is not trusted all clients have one address, and a wrong key must not lock out the others.
    """

    def __init__(self, config: RateConfig) -> None:
        """config: read at each request; what was counted stays counted where it changes."""
        self._keys = _Limit(lambda: config.submits_per_key, "submits with this key")
        self._addresses = _Limit(lambda: config.submits_per_address, "submits from your address")
        self._wrong = _Limit(lambda: config.wrong_keys, "wrong keys from your address")
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._tried: OrderedDict[bytes, None] = OrderedDict()

    async def submit(self, key: str, address: str) -> None:
        """Count one submit. key: its id, "" where the service is open. Raises ApiError RATE_LIMITED."""
        if key:  # first, so that a key over its own limit takes nothing from its neighbours' address
            await self._keys.count(key)
        await self._addresses.count(address)

    async def may_try(self, address: str, *tokens: bytes) -> list[bytes]:
        """Which of a request's keys may be looked up: all, or those that were right before where this address has tried too many wrong
        ones. Raises ApiError RATE_LIMITED where there is none."""
        if not tokens:
            return []
        try:
            await self._wrong.check(address)
        except ApiError:
            known = [token for token in tokens if _pair(address, token) in self._known]
            if known:
                return known
            raise
        return list(tokens)

    async def wrong(self, address: str, *tokens: bytes) -> None:
        """Count wrong keys; the same one again is no guess. Raises ApiError RATE_LIMITED from the first that is one too many."""
        for token in tokens:
            if _remember(self._tried, _pair(address, token)):
                await self._wrong.count(address)

    def right(self, address: str, token: bytes) -> None:
        """Remember that this key was right."""
        _remember(self._known, _pair(address, token))


class _Limit:
    """One limit for many who. text: it as it is now, such as "600/minute"; None for no limit."""

    def __init__(self, text: Callable[[], str | None], what: str) -> None:
        self._text = text
        self._what = what
        self._storage = MemoryStorage()
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)

    async def count(self, who: str) -> None:
        if (limit := self._limit) is None:
            return
        if len(self._storage.storage) > _MAX_COUNTED:
            await self._storage.reset()  # so many different ones: counting starts anew, and memory and time stay bounded
        if not await self._limiter.hit(limit, who):
            raise await self._refusal(limit, who)

    async def check(self, who: str) -> None:
        if (limit := self._limit) is not None and not await self._limiter.test(limit, who):
            raise await self._refusal(limit, who)

    @property
    def _limit(self) -> limits.RateLimitItem | None:
        text = self._text()
        return _parsed(text) if text else None

    async def _refusal(self, limit: limits.RateLimitItem, who: str) -> ApiError:
        window = await self._limiter.get_window_stats(limit, who)
        reason = f"Too many {self._what}: the limit is {limit}. Try again later."
        return ApiError(Answer.RATE_LIMITED, reason=reason, retry_after=window.reset_time - time.time())


def _remember(pairs: OrderedDict[bytes, None], pair: bytes) -> bool:
    """True for a pair that is new among the latest ones."""
    new = pair not in pairs
    pairs[pair] = None
    pairs.move_to_end(pair)
    if len(pairs) > _MAX_KNOWN:
        pairs.popitem(last=False)
    return new


def _pair(address: str, token: bytes) -> bytes:
    return hashlib.sha256(address.encode() + b"\x00" + token).digest()
