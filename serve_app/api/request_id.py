"""The name of a request: `x-request-id`, the client's or a new one, in the answer and in the log lines of failures."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

request_id: ContextVar[str] = ContextVar("request_id", default="")

_NAME = b"x-request-id"
GOOD_ID = re.compile(rb"[\x21-\x7e]{1,128}")  # it stands in log lines: printable, no blanks


class RequestId:
    """ASGI middleware. An id that is overlong or not printable is replaced.

    reply: whether the answer gets the header. Ray Serve's proxy adds one of its own, so behind it there would be two.
    """

    def __init__(self, app: ASGIApp, *, reply: bool = True) -> None:
        self._app = app
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = next((value for name, value in scope["headers"] if name == _NAME), b"")
        id = given if GOOD_ID.fullmatch(given) else secrets.token_hex(16).encode()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (_NAME, id)]}
            await send(message)

        token = request_id.set(id.decode())
        try:
            await self._app(scope, receive, named if self._reply else send)
        finally:
            request_id.reset(token)
