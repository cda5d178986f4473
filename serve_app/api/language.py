"""The language of the descriptions in answers: Chinese, as the contract's clients know them, or English with `language: en`."""

from __future__ import annotations

from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

english: ContextVar[bool] = ContextVar("english", default=False)


class Language:
    """ASGI middleware: reads the request header `language` for everything that is answered behind it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        asked = next((value for name, value in scope["headers"] if name == b"language"), b"")
        token = english.set(asked[:2].lower() == b"en" and not asked[2:3].isalpha())
        try:
            await self._app(scope, receive, send)
        finally:
            english.reset(token)
