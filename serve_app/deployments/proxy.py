"""What stands inside Ray's proxy, before its own code: headers that would steer it are taken away, huge bodies turned down, and what a
dead replica did not answer is sent to another one (failover.py). Where HAProxy is in Ray's proxy's place, what of it each Ingress needs.

A body that Ray's proxy has begun to read goes to a replica piece by piece, wanted or not, and each piece costs a call between the two.
One that says it is larger than any limit that can be set is answered here, and what comes byte by byte is gathered here.
"""

from __future__ import annotations

import asyncio

from ray.serve.context import _get_internal_replica_context
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.again import HEADER
from serve_app.api.body import PROGRESS_BYTES, stated_length
from serve_app.api.errors import Answer, ApiError, Refusals
from serve_app.api.request_id import GOOD_ID
from serve_app.deployments.environment import behind_haproxy
from serve_app.deployments.failover import Failover
from serve_app.deployments.forwarded import BehindHAProxy, own_token
from serve_app.deployments.recorder import recorder
from serve_app.settings import MOST_BODY_BYTES

# Timeouts, disconnects and the choice of a replica are not for strangers to set.
_STEERING = frozenset(
    {b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve-multiplexed-model-id", b"x-session-id", HEADER}
)
_REQUEST_ID = b"x-request-id"
PIECE_BYTES = 262_144  # a body of 1 MB costs 5 calls to the replica, where the server's pieces are 64 KB
_PIECE_S = 0.1
_LINGER_S = 2.0
_SIP_S = 0.02  # the server reads 64 KB ahead, so this is some 3 MB/s


def middlewares() -> list[Middleware]:
    """Ray calls this in each server that it starts: in its proxies, and in each Ingress where HAProxy is in their place
    (RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH). Innermost first.
    """
    refusals = Refusals(recorder())
    guards = [Middleware(OwnHeaders), Middleware(HugeBodies, refusals=refusals)]
    if behind_haproxy():
        guards.append(Middleware(BehindHAProxy, token=own_token()))
        if _is_replica():  # an Ingress: nothing is to be sent from here, and pieces of a body cost no calls
            return guards
    return [Middleware(Failover, refusals=refusals), *guards, Middleware(WholePieces)]


def _is_replica() -> bool:
    return _get_internal_replica_context() is not None  # type: ignore[no-untyped-call]  # Ray has no annotation there


class OwnHeaders:
    """ASGI middleware: headers of Ray Serve's own and of ours come from nobody, and x-request-id only where it is short and printable."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope["headers"] = [pair for pair in scope["headers"] if _passes(*pair)]
        await self._app(scope, receive, send)


def _passes(name: bytes, value: bytes) -> bool:
    if name == _REQUEST_ID:
        return GOOD_ID.fullmatch(value) is not None  # Ray repeats any, and answers 500 in plain text to one that is not UTF-8
    return name.replace(b"_", b"-") not in _STEERING  # as Ray reads them


class HugeBodies:
    """ASGI middleware: 413 for a body that states more than MOST_BODY_BYTES, and a lingering close.

    A client that only writes has to be read for a while, or it meets a reset instead of the answer; but slowly, and not for long.
    """

    def __init__(self, app: ASGIApp, refusals: Refusals) -> None:
        self._app = app
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or stated_length(scope) <= MOST_BODY_BYTES:
            return await self._app(scope, receive, send)
        reason = f"The body has more than {MOST_BODY_BYTES:,} bytes. Send smaller pictures."
        headers = {"Connection": "close", "Access-Control-Allow-Origin": "*"}
        refused = ApiError(Answer.BODY_TOO_LARGE, field="body", reason=reason, headers=headers)

        async def lingering(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({**message, "more_body": True})
                await _linger(receive)
                message = {"type": "http.response.body"}
            await send(message)

        await self._refusals.answer(refused)(scope, receive, lingering)


class WholePieces:
    """ASGI middleware: a body is passed on in pieces of PIECE_BYTES, or of what came within _PIECE_S, but at least PROGRESS_BYTES; the last
    one excepted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        piece, now = bytearray(), asyncio.get_running_loop().time

        async def gathered() -> Message:
            due = now() + _PIECE_S
            while (message := await receive())["type"] == "http.request":
                piece.extend(message.get("body", b""))
                more = message.get("more_body", False)
                if not more or len(piece) >= PIECE_BYTES or (len(piece) >= PROGRESS_BYTES and now() >= due):
                    body = bytes(piece)
                    piece.clear()
                    return {"type": "http.request", "body": body, "more_body": more}
            return message

        await self._app(scope, gathered, send)


async def _linger(receive: Receive) -> None:
    try:
        async with asyncio.timeout(_LINGER_S):
            while (await receive())["type"] != "http.disconnect":
                await asyncio.sleep(_SIP_S)
    except TimeoutError:
        return
