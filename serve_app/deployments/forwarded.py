"""Whom HAProxy saw, and how an Ingress knows that it was HAProxy who says so."""

from __future__ import annotations

import hmac
import os

from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN_HEADER = b"x-faceswap-proxy"  # in each request that comes through our HAProxy, with own_token()
_FORWARDED_FOR = b"x-forwarded-for"


def own_token() -> str:
    """The same in HAProxy and in each Ingress, made of Ray's token; empty where that is not in the environment."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    return hmac.new(token.encode(), b"haproxy", "sha256").hexdigest() if token else ""


class BehindHAProxy:
    """ASGI middleware: scope's client is whom HAProxy saw, which it writes behind all that X-Forwarded-For said before. The rest of that
    header stays as the client sent it, to be believed or not (api/origin.py).

    token: by which HAProxy is known. Who comes without it, past HAProxy, is whoever it is.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            said = [value for name, value in scope["headers"] if name == _FORWARDED_FOR]
            known = self._token and [value for name, value in scope["headers"] if name == TOKEN_HEADER] == [self._token]
            headers = [pair for pair in scope["headers"] if pair[0] != TOKEN_HEADER]
            scope = {**scope, "headers": headers}
            if known and said:
                earlier, _, address = b",".join(said).rpartition(b",")
                others = [pair for pair in headers if pair[0] != _FORWARDED_FOR]
                scope["headers"] = [*others, (_FORWARDED_FOR, earlier)] if earlier else others
                scope["client"] = (address.strip().decode("latin-1"), 0)
        await self._app(scope, receive, send)
