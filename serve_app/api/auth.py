"""Who may ask: a key in `mj-api-secret` or `Authorization`, with or without "Bearer"."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.caller import Caller, introduce
from serve_app.api.errors import Answer, ApiError
from serve_app.api.origin import client_address
from serve_app.api.prefix import route_path
from serve_app.api.rate import Rates
from serve_app.api.service import store_errors
from serve_app.tasks.database import now_ms
from serve_app.tasks.keys import Key, KeyRing

SECRET_KEY = "secret"  # id of the key that FACESWAP_SECRET is; ids of made keys have no such letters
_HEADERS = ("mj-api-secret", "authorization")
_MAX_TOKENS = 4
_NO_KEY = "This service has no key yet, so it answers only on its own machine. Its operator makes one with `faceswap key create`."


class Auth:
    """ASGI middleware. Everything under /mj/ needs a key, except the pictures, whose names cannot be guessed.

    secret: one more key, without limits. Where there is none and `keys` has none either, the service is open to its own machine, and
    with allow_open to everybody. Raises ApiError UNAUTHORIZED, KEY_DISABLED, KEY_EXPIRED, RATE_LIMITED or STORE_DOWN for
    others to answer.

    Stands behind the mode prefix, so that it sees one form of each path, and behind TrustedProxies.
    """

    def __init__(self, app: ASGIApp, *, secret: str | None, keys: KeyRing, rates: Rates, allow_open: bool = False) -> None:
        self._app = app
        self._secret = _digest(secret.strip().encode()) if secret and secret.strip() else None
        self._keys = keys
        self._rates = rates
        self._allow_open = allow_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _guarded(route_path(scope)):
            scope = introduce(scope, await self._caller(scope))
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        if self._secret is None and not await self._any_key():
            if self._allow_open or _on_loopback(scope):
                return Caller("", "admin")
            raise _unauthorized(_NO_KEY)
        address = client_address(scope)
        tokens = await self._rates.may_try(address, *_tokens(Headers(scope=scope)))
        found = [(token, await self._known(token)) for token in tokens]
        right = next(((token, caller) for token, caller in found if isinstance(caller, Caller)), None)
        if right:
            self._rates.right(address, right[0])
        wrong = [token for token, caller in found if caller is None]
        with contextlib.suppress(*[ApiError] if right else []):  # a right key beside it opens; the next guess is not looked up
            await self._rates.wrong(address, *wrong)
        if right:
            return right[1]
        for _, refused in found:
            if isinstance(refused, ApiError):
                raise refused
        raise _unauthorized("Send your key in the header mj-api-secret, or as Authorization: Bearer.")

    async def _any_key(self) -> bool:
        async with store_errors():
            return await self._keys.any()

    async def _known(self, token: bytes) -> Caller | ApiError | None:
        """None for a token that nobody knows."""
        # Digests have one length, so the comparison tells nothing about the secret's.
        if self._secret and hmac.compare_digest(_digest(token), self._secret):
            return Caller(SECRET_KEY, "admin")
        async with store_errors():
            key = await self._keys.find(token.decode("latin-1"))
        return None if key is None else _caller_with(key)


def _caller_with(key: Key) -> Caller | ApiError:
    state = key.state(now_ms())
    if state == "active":
        return Caller(key.id, key.role, key.quota)
    answer = Answer.KEY_EXPIRED if state == "expired" else Answer.KEY_DISABLED
    return ApiError(answer, reason=f"This key is {state}. Ask the operator for another.")


def _unauthorized(reason: str) -> ApiError:
    return ApiError(Answer.UNAUTHORIZED, reason=reason, headers={"WWW-Authenticate": "Bearer"})


def _guarded(path: str) -> bool:
    return path.startswith("/mj") and not path.startswith("/mj/image/")


def _on_loopback(scope: Scope) -> bool:
    """Did the request come in on an address that only this machine has?"""
    host = (scope.get("server") or ("", None))[0]
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tokens(headers: Headers) -> list[bytes]:
    """The keys shown, each once, the first few. Header bytes reach us as Latin-1."""
    given = [_token(value) for name in _HEADERS for value in headers.getlist(name)]
    return [token for token in dict.fromkeys(given) if token][:_MAX_TOKENS]


def _token(value: str) -> bytes:
    word, _, rest = value.strip().partition(" ")
    return (rest.strip() if word.lower() == "bearer" else value.strip()).encode("latin-1")


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
