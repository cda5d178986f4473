"""Brings callbacks to their hooks: one loop that claims what is due, a few tries at a time, no hook in another's way."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import orjson

from serve_app.egress.address import AddressRefused
from serve_app.egress.client import Egress, FetchFailed
from serve_app.tasks.database import now_ms
from serve_app.tasks.outbox import Callback, Outbox, Outcome, Verdict
from serve_app.tasks.task import Task

_log = logging.getLogger(__name__)
_DAY_MS = 24 * 3600 * 1000
_LONGEST_WAIT_S = 3600.0
_QUICK_S, _SLOW_S = 0.25, 1.0  # between two looks: soon after something happened, and when all is quiet
_STOP_S = 2.0  # for tries under way when the courier stops


class Courier:
    """Delivers callbacks while it is started: POST, application/json, `render(task)` as JSON in the body.

    2xx is the end of it. Any other 4xx than 408 and 429 is given up at once; everything else is tried again, after 1 s, 2 s, 4 s, ... 1 h,
    each with jitter, or later where the receiver asks for it, for 24 hours. Redirects are not followed. At most `concurrency` tries run at
    a time, `per_host` of them to one host. `egress`, started, makes the calls; what it refuses is given up at once.
    """

    def __init__(
        self,
        outbox: Outbox,
        render: Callable[[Task], Mapping[str, object]],
        egress: Egress,
        *,
        concurrency: int = 10,
        per_host: int = 4,
        timeout_s: float = 10.0,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._outbox = outbox
        self._render = render
        self._egress = egress
        self._concurrency = concurrency
        self._per_host = per_host
        self._timeout_s = timeout_s
        self._clock = clock
        self._woken = asyncio.Event()
        self._pause = _QUICK_S
        self._tries: dict[asyncio.Task[None], str] = {}
        self._settled: list[Outcome] = []

    async def start(self) -> None:
        """Begin to deliver, on the running loop."""
        self._stopping = False
        self._loop = asyncio.create_task(self._run(), name="courier")

    def wake(self) -> None:
        """Look now; something may be due."""
        self._pause = _QUICK_S
        self._woken.set()

    async def stop(self) -> None:
        """End soon. Tries that have no answer by then are handed back, to be made again by another courier or after the restart."""
        self._stopping = True
        self.wake()
        await self._loop
        if self._tries:
            _, late = await asyncio.wait(self._tries, timeout=_STOP_S)
            for attempt in late:
                attempt.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            await self._outbox.settle(self._settled)
        except Exception as error:
            _log.warning("callbacks not noted at the stop, they will be made again: %s", type(error).__name__)

    async def _run(self) -> None:
        failing = False
        while not self._stopping:
            self._woken.clear()
            try:
                await self._turn()
                failing = False
            except Exception:
                if not failing:
                    _log.exception("callbacks are not delivered for now")
                failing = True
            await self._rest(_SLOW_S if failing else self._pause)

    async def _rest(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._woken.wait()
        except TimeoutError:
            self._pause = min(self._pause * 1.1, _SLOW_S)

    async def _turn(self) -> None:
        """Note what ended and start what is due, in one commit, or none where there is nothing of either."""
        free = self._concurrency - len(self._tries)
        busy = Counter(self._tries.values())
        full = [host for host, tries in busy.items() if tries >= self._per_host]
        if not self._settled and not (free and await self._outbox.any_due(full)):
            return
        settled, self._settled = self._settled, []
        lease_s = 3 * self._timeout_s
        try:
            due = await self._outbox.claim_due(free, lease_s, settled=settled, per_host=self._per_host, busy=busy)
        except Exception:
            self._settled = settled + self._settled
            raise
        for callback in due:
            attempt = asyncio.create_task(self._try(callback))
            self._tries[attempt] = callback.host
            attempt.add_done_callback(self._ended)
        if due:
            self.wake()  # there may be more, for hosts beyond those just seen

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        del self._tries[attempt]
        self.wake()

    async def _try(self, callback: Callback) -> None:
        try:
            outcome = await self._outcome(callback)
        except asyncio.CancelledError:
            outcome = Outcome(callback, Verdict.RETURNED)
        except Exception as error:
            _log.exception("callback %s could not be made", callback.webhook_id)
            outcome = self._again(callback, type(error).__name__)
        self._settled.append(outcome)

    async def _outcome(self, callback: Callback) -> Outcome:
        headers = {"Content-Type": "application/json", "webhook-id": callback.webhook_id}
        body = orjson.dumps(self._render(callback.task))
        try:
            status, retry_after = await self._egress.post(callback.hook, body, headers, self._timeout_s)
        except AddressRefused as error:
            return self._never(callback, str(error))
        except FetchFailed as error:
            return self._again(callback, str(error))
        if 200 <= status < 300:
            return Outcome(callback, Verdict.DELIVERED)
        if 400 <= status < 500 and status not in (408, 429):
            return self._never(callback, f"HTTP {status}")
        return self._again(callback, f"HTTP {status}", retry_after)

    def _again(self, callback: Callback, error: str, retry_after: str | None = None) -> Outcome:
        now = self._clock()
        backoff_s = min(2.0 ** min(callback.attempt - 1, 20), _LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
        wait_s = max(backoff_s, min(_seconds(retry_after, now), _LONGEST_WAIT_S))
        retry_at = now + int(wait_s * 1000)
        if retry_at > callback.created + _DAY_MS:
            return self._never(callback, error)
        return Outcome(callback, Verdict.FAILED, retry_at, error)

    def _never(self, callback: Callback, error: str) -> Outcome:
        # The host alone: paths, queries and names in a hook's URL are often secrets.
        _log.warning("callback %s to %s given up on try %d: %s", callback.webhook_id, callback.host, callback.attempt, error)
        return Outcome(callback, Verdict.DEAD, error=error)


def _seconds(retry_after: str | None, now: int) -> float:
    """What a Retry-After asks for, in seconds or as a date; 0 for anything else."""
    text = (retry_after or "").strip()
    try:
        return float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - now / 1000
    except (ValueError, OverflowError):
        return 0.0
