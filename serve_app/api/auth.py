"""Who may ask: one shared secret, in `mj-api-secret` or `Authorization`, with or without "Bearer"."""

from __future__ import annotations

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.errors import Answer, envelope
from serve_app.api.prefix import route_path

_HEADERS = ("mj-api-secret", "authorization")


class Auth:
    """ASGI middleware. With a secret set, everything under /mj/ needs it, except the pictures, whose names cannot be guessed.

    Stands behind the mode prefix, so that it sees one form of each path.
    """

    def __init__(self, app: ASGIApp, *, secret: str | None) -> None:
        self._app = app
        self._digest = _digest(secret.strip().encode()) if secret and secret.strip() else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._digest and _guarded(route_path(scope)) and not self._passes(Headers(scope=scope)):
            response = envelope(Answer.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
            return await response(scope, receive, send)
        await self._app(scope, receive, send)

    def _passes(self, headers: Headers) -> bool:
        assert self._digest
        given = [value for name in _HEADERS for value in headers.getlist(name)]
        # Digests have one length, so the comparison tells nothing about the secret's.
        return any([hmac.compare_digest(_digest(_token(value)), self._digest) for value in given])


def _guarded(path: str) -> bool:
    return path.startswith("/mj") and not path.startswith("/mj/image/")


def _token(value: str) -> bytes:
    """The secret in a header's value. Header bytes reach us as Latin-1."""
    word, _, rest = value.strip().partition(" ")
    return (rest.strip() if word.lower() == "bearer" else value.strip()).encode("latin-1")


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
