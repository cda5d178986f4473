"""POST /mj/insight-face/swap: read, check, fetch what is only named, accept, answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from serve_app import tracing
from serve_app.about import about
from serve_app.api.again import sending_key, sent_before
from serve_app.api.body import hold_body, read_body, release_body
from serve_app.api.caller import Caller
from serve_app.api.errors import Answer, ApiError, envelope, log_failure
from serve_app.api.fetch import Fetch
from serve_app.api.origin import base_url, client_address
from serve_app.api.rate import Rates
from serve_app.api.schema import task_json
from serve_app.api.service import Service, store_errors
from serve_app.api.submission import Draft, Pair, complete, parse_submission
from serve_app.api.timing import server_timing
from serve_app.api.watch import wanted_wait_s
from serve_app.stages import Stages
from serve_app.tasks.quota import QuotaExceeded
from serve_app.tasks.repeats import IdempotencyMismatch
from serve_app.tasks.room import QueueFull
from serve_app.tasks.task import NewTask, Task

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_AGAIN_S = 5.0  # after it, there may be room

logger = logging.getLogger(__name__)


class Submit:
    def __init__(self, service: Service, rates: Rates, fetch: Fetch) -> None:
        self._service = service
        self._rates = rates
        self._fetch = fetch

    async def swap(self, request: Request) -> Response:
        caller = Caller.of(request)
        with about(key=caller.key, stage="submit"), tracing.span("submit", tracing.SpanKind.PRODUCER):
            return await self._swap(request, caller)

    async def _swap(self, request: Request, caller: Caller) -> Response:
        limits = self._service.config.limits
        await self._rates.submit(caller.key, client_address(request.scope))
        key = _idempotency_key(request)
        repeats, stages = key is not None or sent_before(request), Stages()
        with stages.measure("admit"):
            waiting = await self._waiting(None if repeats else caller)  # before a byte of the body is read
        with stages.measure("body"):
            body = await read_body(request, limits.max_body_bytes)
        with stages.measure("parse"):
            # Parsing and base64 in one thread call, both headers in another; the loop stays free for others.
            draft = await asyncio.to_thread(parse_submission, body, self._service.config)
        del body
        new = self._new(request, caller, draft, key, await asyncio.to_thread(_fingerprint, draft) if key else None)
        wait_s = wanted_wait_s(request, draft.wait_s)
        task = await self._earlier(new) if repeats else None
        if task is None:
            if repeats:
                await self._waiting(caller)
            if draft.to_fetch:
                release_body(request)  # what waits for somebody's server is bounded by key, not by the room for bodies
            with stages.measure("pictures"):
                pair = await self._pictures(draft, caller)
            with stages.measure("accept"):
                task = await self._accept(request, new, pair, caller)
            del pair
        del draft
        release_body(request)  # what waits now holds no bytes
        return await self._answer(task, waiting, wait_s, stages)

    async def _waiting(self, caller: Caller | None) -> int:
        """How many tasks wait. With a caller: refused where there is no room for another task of it."""
        store = self._service.store
        async with _store_refusals():
            return await (store.count_waiting() if caller is None else store.admit(caller.key, caller.quota))

    async def _pictures(self, draft: Draft, caller: Caller) -> Pair:
        """The pictures that came only as URLs are fetched before anything is accepted."""
        files = await self._fetch.files(draft.pictures, caller)
        return await asyncio.to_thread(complete, draft, files, self._service.config.limits)

    def _new(self, request: Request, caller: Caller, draft: Draft, key: str | None, fingerprint: str | None) -> NewTask:
        return NewTask(
            mode=request.scope.get("faceswap.mode"),
            state=draft.body.state,
            notify_hook=draft.notify_hook or self._service.config.notify_hook,
            instance_id=draft.body.instance_id,
            base_url=base_url(request),
            owner=caller.key,
            idempotency_key=key or sending_key(request),
            fingerprint=fingerprint,
            fresh=key is None and not sent_before(request),
            options=draft.options.stored(),
            traceparent=tracing.here(),
        )

    async def _earlier(self, new: NewTask) -> Task | None:
        """The task that this request asks for again, whatever has become of the queue, the key's limits or a URL since."""
        async with _store_refusals():
            return await self._service.store.earlier(new)

    async def _accept(self, request: Request, new: NewTask, pair: Pair, caller: Caller) -> Task:
        service = self._service
        write = partial(service.blobs.put_inputs, source=pair.source, target=pair.target, more=pair.more)
        ended = hold_body(
            request, sum(map(len, (pair.source, pair.target, *pair.more)))
        )  # a submit outlives the request of a client that has gone
        async with _store_refusals():
            task = await service.store.submit(new, write, caller.quota, ended)
        with about(task=task.id):
            logger.info("task %s accepted", task.id)
        try:
            service.on_accepted(task)  # also for a repetition: a surplus offer is harmless
        except Exception as error:  # the task is accepted and recovery will find it
            log_failure("on_accepted", error)
        return task

    async def _answer(self, task: Task, waiting: int, wait_s: float, stages: Stages) -> Response:
        """The contract's answer; for a caller who waits with the task as an extra member, finished or as far as it came."""
        properties = {"discordInstanceId": task.instance_id or "", "numberOfQueues": waiting}
        if not wait_s:
            return envelope(Answer.ACCEPTED, result=task.id, properties=properties, headers=server_timing(stages.ms))
        with stages.measure("wait"):
            seen = await self._service.watch.ended(task, wait_s)
        extra = {"task": task_json(seen, self._service.config.public_url)}
        headers = {"Preference-Applied": f"wait={wait_s:g}", **server_timing(stages.ms)}
        return envelope(Answer.ACCEPTED, result=task.id, properties=properties, extra=extra, headers=headers)


@asynccontextmanager
async def _store_refusals() -> AsyncIterator[None]:
    """What the store refuses, and that it fails, as answers."""
    try:
        async with store_errors(Answer.SUBMIT_FAILED, (QueueFull, QuotaExceeded, IdempotencyMismatch)):
            yield
    except QueueFull:
        raise ApiError(
            Answer.QUEUE_FULL, reason="Too many tasks are unfinished. Send this one again later.", retry_after=_AGAIN_S
        ) from None
    except QuotaExceeded as error:
        answer = Answer.DAILY_LIMIT if error.kind == "daily" else Answer.CONCURRENT_LIMIT
        again_s = None if error.kind == "daily" else _AGAIN_S
        raise ApiError(answer, reason=f"The {error.kind} limit of your key is reached.", retry_after=again_s) from None
    except IdempotencyMismatch:
        reason = "Another request was sent with this Idempotency-Key. Send each request with a key of its own."
        raise ApiError(Answer.IDEMPOTENCY_MISMATCH, field="Idempotency-Key", reason=reason) from None


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key", "").strip().strip('"')
    if key and not _KEY.fullmatch(key):
        reason = "An Idempotency-Key has 1 to 255 printable ASCII characters and no blanks."
        raise ApiError(Answer.INVALID, field="Idempotency-Key", reason=reason)
    return key or None


def _fingerprint(draft: Draft) -> str:
    """What a repetition must have in common with the first request: its pictures, or where they are, and what is to happen."""
    digest = hashlib.sha256()
    source, target, body = draft.source, draft.target, draft.body
    parts: list[bytes | str | None] = [source.data, source.url, target.data, target.url, body.state, draft.notify_hook, body.instance_id]
    if options := draft.options.stored():
        parts += [json.dumps(options, sort_keys=True), *(part for given in draft.more for part in (given.data, given.url))]
    for part in parts:
        text = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()
