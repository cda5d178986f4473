"""The bytes of a request: bounded while they come in, each body by itself and all of them together."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.errors import Answer, ApiError
from serve_app.api.origin import client_address

_SCOPE = "faceswap.body"
_STALLED_S = 2.0  # a body that took longer than this for its last PROGRESS_BYTES may be given up when room is short
PROGRESS_BYTES = 16_384
_RETRY_S = 1.0
_PATIENCE_S = 2.0  # a burst from one address, a gateway's say, is no attack: the next body waits for one of the others to be there
_MAX_WAITING = 64  # bodies of one address that wait so


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises ApiError BODY_TOO_LARGE, without reading further, by the stated length or at the first byte past `limit`."""
    if stated_length(request.scope) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    except ClientDisconnect:
        raise ApiError(Answer.INVALID, field="body", reason="The connection ended before the body did. Send it again.") from None
    return b"".join(parts)


def release_body(request: Request) -> None:
    """Say that the bytes of this request's body are gone, before the request itself ends: one that waits holds nothing."""
    body = request.scope.get(_SCOPE)
    if isinstance(body, _Body):
        body.release()


def hold_body(request: Request, size: int) -> Callable[[], None]:
    """Count this request's body, or `size` bytes where that is more, until what is returned is called, also past the request's own end.

    Raises ApiError BUSY where there is no room.
    """
    body = request.scope.get(_SCOPE)
    return body.hold(size) if isinstance(body, _Body) else lambda: None


class BodyGate:
    """ASGI middleware: bodies on their way in, of this process.

    A body has timeout_s to arrive. A client address (see client_address) may send per_address at a time, the next ones wait a moment, and
    all clients max_bodies. max_bytes bounds what is held of them until their requests end, or longer: hold_body. A body over any of these
    is refused with an ApiError out of `receive`, and not read. But where places are short, an address that has several gives one to an
    address that has fewer; and where room is short, bodies that hardly move are given up. Nothing is counted before the first byte is asked
    for: who is refused by key or by rate has no part in it.
    """

    def __init__(
        self, app: ASGIApp, *, timeout_s: float = 30.0, per_address: int = 16, max_bodies: int = 128, max_bytes: int = 300_000_000
    ) -> None:
        self._app = app
        self.timeout_s = timeout_s
        self._per_address = per_address
        self._max_bodies = max_bodies
        self._max_bytes = max_bytes
        self._bytes = 0
        self._coming: OrderedDict[_Body, None] = OrderedDict()  # the one that has not moved for longest is first
        self._addresses: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._left = asyncio.Event()  # set once, when the next body leaves

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (stated := stated_length(scope)):
            return await self._app(scope, receive, send)
        body = _Body(self, receive, client_address(scope), stated)
        try:
            await self._app({**scope, _SCOPE: body}, body.receive, send)
        finally:
            body.release()

    async def enter(self, body: _Body) -> None:
        await self._turn(body.address)
        if len(self._coming) >= self._max_bodies:
            self._share(body.address)
        self._need(max(body.stated, 0), 1)
        self._coming[body] = None
        self._addresses[body.address] += 1

    def grow(self, body: _Body, size: int, moved: bool) -> None:
        if moved:
            self._coming.move_to_end(body)
        self._need(size, 0)
        self._bytes += size

    def leave(self, body: _Body) -> None:
        """The body is there, or will not be."""
        if body in self._coming:
            del self._coming[body]
            self._addresses[body.address] -= 1
            if not self._addresses[body.address]:
                del self._addresses[body.address]
            self._left.set()
            self._left = asyncio.Event()

    def forget(self, size: int) -> None:
        self._bytes -= size

    async def _turn(self, address: str) -> None:
        """Wait until this address may send one more. Raises ApiError TOO_MANY_BODIES."""
        if self._addresses[address] < self._per_address:
            return
        reason = f"This address sends {self._per_address} bodies already. Wait for the answer to one of them."
        refused = ApiError(Answer.TOO_MANY_BODIES, reason=reason, retry_after=_RETRY_S)
        if self._waiting[address] >= _MAX_WAITING:
            raise refused
        self._waiting[address] += 1
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while self._addresses[address] >= self._per_address:
                    await self._left.wait()
        except TimeoutError:
            raise refused from None
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]

    def _share(self, address: str) -> None:
        """The address with the most bodies gives up the one that moved least lately, unless this address would then have as many."""
        most, count = max(self._addresses.items(), key=lambda item: item[1])
        if count > self._addresses[address] + 1:
            any(body.give_up() for body in list(self._coming) if body.address == most)

    def _need(self, size: int, bodies: int) -> None:
        """Raises ApiError BUSY where there is no room, even without the bodies that stand still."""
        while self._bytes + size > self._max_bytes or len(self._coming) + bodies > self._max_bodies:
            stalest = next(iter(self._coming), None)
            if stalest is None or not stalest.stalled or not stalest.give_up():
                raise ApiError(Answer.BUSY, reason="Too many uploads are under way. Send this one again later.", retry_after=_RETRY_S)


class _Body:
    """One body on its way in. stated: its length by its header, -1 where it has none."""

    def __init__(self, gate: BodyGate, receive: Receive, address: str, stated: int) -> None:
        self.address = address
        self.stated = stated
        self._gate = gate
        self._receive = receive
        self._size = 0
        self._fresh = 0
        self._moved = self._deadline = 0.0
        self._waiting: asyncio.Timeout | None = None
        self._started = self._ended = self._held = False
        self._error: ApiError | None = None

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()
        try:
            return await self._next()
        except ApiError as error:
            self._error = error
            self.release()
            raise

    async def _next(self) -> Message:
        if self._error:
            raise self._error
        if not self._started:
            await self._gate.enter(self)
            self._started = True
            self._moved = asyncio.get_running_loop().time()
            self._deadline = self._moved + self._gate.timeout_s
        try:
            async with asyncio.timeout_at(self._deadline) as self._waiting:
                message = await self._receive()
        except TimeoutError:
            raise self._error or _too_slow(f"The body was not there within {self._gate.timeout_s:g} seconds.") from None
        finally:
            self._waiting = None
        if self._error:  # given up in the moment in which more came
            raise self._error
        self._count(len(message.get("body", b"")))
        if not message.get("more_body", False):
            self._ended = True
            self._gate.leave(self)
        return message

    def _count(self, size: int) -> None:
        self._fresh += size
        if moved := self._fresh >= PROGRESS_BYTES:
            self._fresh = 0
            self._moved = asyncio.get_running_loop().time()
        self._gate.grow(self, size, moved)
        self._size += size

    @property
    def stalled(self) -> bool:
        return asyncio.get_running_loop().time() - self._moved >= _STALLED_S

    def give_up(self) -> bool:
        """End the wait for more; False where there is none, for more is there already."""
        if self._waiting is None:
            return False
        self._error = _too_slow("The body stood still while others had no room.")
        self._waiting.reschedule(asyncio.get_running_loop().time())
        self.release()
        return True

    def hold(self, size: int) -> Callable[[], None]:
        if (more := size - self._size) > 0:
            self._gate.grow(self, more, False)
            self._size = size
        self._held = True
        return self._let_go

    def _let_go(self) -> None:
        self._held = False
        self.release()

    def release(self) -> None:
        self._gate.leave(self)
        if not self._held:
            self._gate.forget(self._size)
            self._size = 0


def stated_length(scope: Scope) -> int:
    """The length of the body by its header: 0 for none, -1 for one of unknown length."""
    length = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            length = -1
        elif name == b"content-length":
            return int(value[:20]) if value.isdigit() else -1
    return length


def _too_slow(reason: str) -> ApiError:
    # Without the close, the HTTP server reads what is still to come and throws it away, for as long as the client likes.
    return ApiError(Answer.BODY_SLOW, field="body", reason=f"{reason} Send it again.", headers={"Connection": "close"})


def _too_large(limit: int) -> ApiError:
    return ApiError(Answer.BODY_TOO_LARGE, field="body", reason=f"The body has more than {limit:,} bytes. Send smaller pictures.")
