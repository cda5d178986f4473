"""A request whose replica died before it answered is sent to another one: no client sees that an Ingress was killed.

Ray's router sends elsewhere what a dead replica never got. What a replica had when it died ends in Ray's proxy without an
answer, and its HTTP server makes a 500 in plain text of it. All our requests may be sent twice: most only read, and the others say
that they were sent before (api/again.py), so that a submit makes no second task.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.again import mark
from serve_app.api.errors import Answer, ApiError, Refusals
from serve_app.settings import MOST_BODY_BYTES

PAUSES_S = (0.05, 0.5)  # a request that itself kills replicas kills no more than three
KEPT_BYTES = 128_000_000  # of all bodies of this proxy; those above it are sent once
ROUTES_S = 15.0  # within which a new proxy learns of the application
_LOOK_S = 0.2
_AGAIN_S = 5.0
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_REQUEST_ID = b"x-request-id"


class Failover:
    """ASGI middleware, right before Ray's own code.

    Ray's answer that it has no such route means nothing before the first answer of the application: a new proxy accepts
    connections before it knows what to do with them.
    """

    def __init__(self, app: ASGIApp, refusals: Refusals, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._app = app
        self._refusals = refusals
        self._room = kept_bytes
        self._known = False  # that the application is there

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # Ray's own
            return await self._app(scope, receive, send)
        token = None if scope["method"] in _READS else secrets.token_hex(16)
        headers, body, number, until = _named(scope), _Body(receive, self._take), 0, time.monotonic() + ROUTES_S
        try:
            while True:
                answer = _Outcome(send, body.drop)
                # Ray's code changes the scope, so each sending has its own.
                sent = {**scope, "headers": [*headers, mark(token, number)] if token else [*headers]}
                await self._app(sent, body.receive, answer.send)
                if answer.begun:
                    self._known = True
                    return
                if answer.no_route and self._known:
                    return await answer.release()
                if body.gone:
                    return
                if answer.no_route and time.monotonic() < until:
                    await asyncio.sleep(_LOOK_S)
                elif not answer.no_route and number < len(PAUSES_S) and body.whole:
                    await asyncio.sleep(PAUSES_S[number])
                    number += 1
                else:
                    return await self._sorry({**scope, "headers": headers}, send)
                body.rewind()
        finally:
            body.drop()

    async def _sorry(self, scope: Scope, send: Send) -> None:
        id = next(value for name, value in scope["headers"] if name == _REQUEST_ID)
        await self._refusals.answer(unanswered({"X-Request-ID": id.decode("latin-1")}))(scope, _nothing, send)

    def _take(self, size: int) -> bool:
        """Room for so many bytes, or none. Negative: they are given back."""
        if size > self._room:
            return False
        self._room -= size
        return True


def unanswered(headers: Mapping[str, str]) -> ApiError:
    """What a client is told whom no Ingress answered."""
    reason = "The server could not answer this. Send it again later."
    return ApiError(Answer.STORE_DOWN, reason=reason, retry_after=_AGAIN_S, headers={"Access-Control-Allow-Origin": "*", **headers})


class _Body:
    """What the client sends, kept so that it can be sent again. whole: nothing of it is missing. gone: the client has left."""

    def __init__(self, receive: Receive, take: Callable[[int], bool]) -> None:
        self.whole, self.gone = True, False
        self._receive = receive
        self._take = take
        self._kept: list[Message] = []
        self._size = 0
        self._next = 0

    async def receive(self) -> Message:
        if self._next < len(self._kept):
            self._next += 1
            return self._kept[self._next - 1]
        message = await self._receive()
        if message["type"] != "http.request":
            self.gone = True
        elif self.whole:
            self._keep(message)
        return message

    def rewind(self) -> None:
        self._next = 0

    def drop(self) -> None:
        """It need not be sent again."""
        self._take(-self._size)
        self.whole, self._size, self._next = False, 0, 0
        self._kept.clear()

    def _keep(self, message: Message) -> None:
        size = len(message.get("body", b""))
        if self._size + size > MOST_BODY_BYTES or not self._take(size):
            return self.drop()
        self._size += size
        self._kept.append(message)
        self._next = len(self._kept)


class _Outcome:
    """The answer to one sending. It begins with the first piece of a body: until then another replica can still answer.

    begun: the application's answer is on its way. no_route: Ray knows no application for this path.
    """

    def __init__(self, send: Send, on_begin: Callable[[], None]) -> None:
        self.begun = self.no_route = False
        self._send = send
        self._on_begin = on_begin
        self._held: list[Message] = []

    async def send(self, message: Message) -> None:
        if self.begun:
            return await self._send(message)
        self._held.append(message)
        start = self._held[0]
        if message is start:
            return
        if _is_rays(start):
            self.no_route = start["status"] == 404
            return
        self.begun = True
        self._on_begin()
        await self.release()

    async def release(self) -> None:
        """Send what was held back."""
        for message in self._held:
            await self._send(message)
        self._held.clear()


def _named(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Its headers, with a request id that stays the same however often it is sent."""
    headers = list(scope["headers"])
    if not any(name == _REQUEST_ID for name, _ in headers):
        headers.append((_REQUEST_ID, secrets.token_hex(16).encode()))
    return headers


def _is_rays(start: Message) -> bool:
    """An answer that Ray made itself, where the application made none: plain text, and without the length that all of ours have."""
    headers = dict(start["headers"])
    return (
        start["status"] in (404, 503) and headers.get(b"content-type", b"").startswith(b"text/plain") and b"content-length" not in headers
    )


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
