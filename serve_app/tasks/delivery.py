"""Brings callbacks to their hooks: one loop that takes what is due, many tries at a time, no hook in another's way."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeAlias

import orjson

from serve_app import tracing
from serve_app.about import about
from serve_app.egress.address import AddressRefused
from serve_app.egress.client import Egress, FetchFailed
from serve_app.metrics import HOOK_CALLS, HOOK_DELAY_SECONDS, Recorder, unrecorded
from serve_app.tasks.clock import DAY_MS
from serve_app.tasks.database import DatabaseUnavailable, now_ms
from serve_app.tasks.lanes import LONGEST_WAIT_MS, Lanes, Places, Plan, Try, backoff_ms
from serve_app.tasks.outbox import Callback, Outbox, Outcome, Verdict
from serve_app.tasks.task import Task

Sign: TypeAlias = Callable[[Callback, bytes], Awaitable[Mapping[str, str]]]

_log = logging.getLogger(__name__)
_LOOK, _BATCH = 500, 128  # rows looked at in a turn, and tries begun in one
_AT_ONCE = 8
_GATHER_S = 0.03  # what ends within so long is noted in one commit
_QUICK_S, _SLOW_S = 0.25, 0.5  # between two looks: soon after something happened, and when all is quiet
_FIRST_PAUSE_MS = 1_000  # after the first failure of a state
_SHORT_S = 0.1  # while there is more than there are places
_STOP_S = 2.0  # for tries under way when the courier stops
_OUTCOMES = {Verdict.DELIVERED: "delivered", Verdict.FAILED: "failed", Verdict.DEAD: "given_up"}


async def unsigned(_callback: Callback, _body: bytes) -> Mapping[str, str]:
    return {}


class Courier:
    """Delivers callbacks while it is started: POST, application/json, `render(task)` as JSON in the body, and the headers of `sign`.

    2xx is the end of it. Any other 4xx than 408 and 429 is given up at once; everything else is tried again, after 1 s, 1.5 s, 2.3 s, ...
    1 h, each with jitter, or later where the receiver asks for it, for 24 hours. Redirects are not followed. `places` bounds the tries at
    a time; see Lanes for who goes first. `egress`, started, makes the calls; what it refuses is given up at once.
    """

    def __init__(
        self,
        outbox: Outbox,
        render: Callable[[Task], Mapping[str, object]],
        egress: Egress,
        *,
        sign: Sign = unsigned,
        places: Places | None = None,
        timeout_s: float = 10.0,
        clock: Callable[[], int] = now_ms,
        record: Recorder = unrecorded,
    ) -> None:
        self._record = record
        self._outbox = outbox
        self._render = render
        self._egress = egress
        self._sign = sign
        self._lanes = Lanes(places)
        self._timeout_s = timeout_s
        self._clock = clock
        self._woken = asyncio.Event()
        self._pause = _QUICK_S
        self._tries: set[asyncio.Task[None]] = set()
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
                pause_s = await self._turn()
                failing = False
            except Exception:
                if not failing:
                    _log.exception("callbacks are not delivered for now")
                failing = True
                pause_s = _SLOW_S
            await self._rest(pause_s)

    async def _rest(self, pause_s: float) -> None:
        if not pause_s:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(pause_s):
                await self._woken.wait()
            if not self._stopping:
                await asyncio.sleep(_GATHER_S)
        except TimeoutError:
            self._pause = min(self._pause * 1.1, _SLOW_S)

    async def _turn(self) -> float:
        """Note what ended and begin what is due, in one commit, or none where there is nothing of either. Seconds to wait for the next."""
        plan = Plan([], [], [], more=False)
        if not self._lanes.full:
            due = await self._outbox.due(_LOOK)
            plan = self._lanes.plan(due, self._clock(), most=_BATCH, all_seen=len(due) < _LOOK)
        if plan.empty and not self._settled:
            return _SHORT_S if plan.more else self._pause
        settled, self._settled = self._settled, []
        try:
            taken = await self._outbox.commit(
                settled=settled, take=plan.take, lease_s=3 * self._timeout_s, put_off=plan.put_off, given_up=plan.given_up
            )
        except Exception:
            self._settled = settled + self._settled
            raise
        for row, why in plan.given_up:
            self._record(HOOK_CALLS, outcome="given_up")
            with about(task=row.task_id, key=row.owner):
                _log.warning("a callback of task %s to %s given up after a day of: %s", row.task_id, row.host, why)
        for number, callback in enumerate(taken):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # what else is on this loop, requests above all, never waits for many of them
            attempt = asyncio.create_task(self._try(callback, self._lanes.begin((callback.task.owner, callback.host))))
            self._tries.add(attempt)
            attempt.add_done_callback(self._ended)
        if plan.more and (taken or plan.put_off):
            return 0.0  # others were behind them
        return _SHORT_S if plan.more else self._pause

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        self._tries.discard(attempt)
        self.wake()

    async def _try(self, callback: Callback, begun: Try) -> None:
        with about(task=callback.task.id, key=callback.task.owner, stage="callback"):
            outcome = await self._tried(callback, begun)
            self._tell(outcome)
        self._settled.append(outcome)

    def _tell(self, outcome: Outcome) -> None:
        callback = outcome.callback
        if name := _OUTCOMES.get(outcome.verdict):
            self._record(HOOK_CALLS, outcome=name)
        if outcome.verdict is Verdict.DELIVERED:
            self._record(HOOK_DELAY_SECONDS, max(0, self._clock() - callback.created) / 1000)
            _log.info("callback %s delivered to %s on try %d", callback.webhook_id, callback.host, callback.attempt)

    async def _tried(self, callback: Callback, begun: Try) -> Outcome:
        try:
            return await self._outcome(callback, begun)
        except (asyncio.CancelledError, DatabaseUnavailable):  # which knows the secret to sign with
            return Outcome(callback, Verdict.RETURNED)
        except Exception as error:
            # Without its text, which may quote the URL.
            trace = "".join(traceback.format_tb(error.__traceback__))
            _log.error("callback %s could not be made: %s\n%s", callback.webhook_id, type(error).__name__, trace)
            return self._again(callback, type(error).__name__)
        finally:
            self._lanes.returned(begun)  # unless it was said already what it says about its lane

    async def _outcome(self, callback: Callback, begun: Try) -> Outcome:
        now = self._clock()
        if now + self._timeout_s * 1000 > callback.until:  # the loop was busy so long that somebody else may try it meanwhile
            return Outcome(callback, Verdict.RETURNED)
        body = orjson.dumps(self._render(callback.task))
        headers = {"Content-Type": "application/json", "webhook-id": callback.webhook_id, **await self._sign(callback, body)}
        try:
            status, retry_after = await self._post(callback, body, headers)
        except AddressRefused as error:
            return self._never(callback, str(error))
        except FetchFailed as error:
            self._lanes.failed(begun, str(error), self._clock())
            return self._again(callback, str(error))
        if 400 <= status < 500 and status not in (408, 429):
            self._lanes.answered(begun)
            return self._never(callback, f"HTTP {status}")
        if 200 <= status < 300:
            self._lanes.answered(begun)
            return Outcome(callback, Verdict.DELIVERED)
        asked_ms = min(_asked_ms(retry_after, self._clock()), LONGEST_WAIT_MS)
        self._lanes.failed(begun, f"HTTP {status}", self._clock(), asked_ms)
        return self._again(callback, f"HTTP {status}", asked_ms)

    async def _post(self, callback: Callback, body: bytes, headers: Mapping[str, str]) -> tuple[int, str | None]:
        """As Egress.post; the hook is told which trace the task belongs to."""
        task = callback.task
        with tracing.resumed(
            "callback", task.traceparent, tracing.SpanKind.CLIENT, task=task.id, status=task.status, attempt=callback.attempt
        ) as span:
            traceparent = tracing.here()
            trace = {tracing.HEADER: traceparent} if task.traceparent and traceparent else {}
            status, retry_after = await self._egress.post(callback.hook, body, {**headers, **trace}, self._timeout_s)
            span.set_attribute("http.response.status_code", status)
            return status, retry_after

    def _again(self, callback: Callback, error: str, asked_ms: int = 0) -> Outcome:
        now = self._clock()
        # Bounded by its age: attempts that were handed back, or lost with their courier, count as well, and took no time.
        pause = min(backoff_ms(_FIRST_PAUSE_MS, callback.attempt - 1, LONGEST_WAIT_MS), now - callback.created + _FIRST_PAUSE_MS)
        retry_at = now + max(pause, asked_ms)
        if retry_at > callback.created + DAY_MS:
            return self._never(callback, error)
        return Outcome(callback, Verdict.FAILED, retry_at, error)

    def _never(self, callback: Callback, error: str) -> Outcome:
        # The host alone: paths, queries and names in a hook's URL are often secrets.
        _log.warning("callback %s to %s given up on try %d: %s", callback.webhook_id, callback.host, callback.attempt, error)
        return Outcome(callback, Verdict.DEAD, error=error)


def _asked_ms(retry_after: str | None, now: int) -> int:
    """What a Retry-After asks for, in seconds or as a date, as milliseconds from now; 0 for anything else."""
    text = (retry_after or "").strip()
    try:
        return int(1000 * float(text)) if text.isdecimal() else int(parsedate_to_datetime(text).timestamp() * 1000) - now
    except (ValueError, OverflowError):
        return 0
