"""W3C's `traceparent`: a request belongs to the trace that its client began, also where this service traces nothing itself."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app import tracing

_NAME = tracing.HEADER.encode()


class Traces:
    """ASGI middleware. Where Ray Serve traces, it has read the header already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = next((value for name, value in scope["headers"] if name == _NAME), None)
        with tracing.behind(given and given.decode("latin-1")):
            await self._app(scope, receive, send)
