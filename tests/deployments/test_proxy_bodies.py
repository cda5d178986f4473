"""deployments/proxy.py: bodies before Ray sees them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from starlette.types import Message

from serve_app.api.body import PROGRESS_BYTES
from serve_app.api.errors import Refusals
from serve_app.deployments import proxy
from serve_app.deployments.proxy import PIECE_BYTES, HugeBodies, OwnHeaders, WholePieces
from serve_app.settings import MOST_BODY_BYTES

Receive = Callable[[], Awaitable[Message]]


def receiving(*parts: bytes, end: bool = True) -> Receive:
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": part, "more_body": not end or n + 1 < len(parts)} for n, part in enumerate(parts)]
        + [{"type": "http.disconnect"}]
    )

    async def receive() -> Message:
        return next(messages)

    return receive


async def through(receive: Receive) -> list[Message]:
    seen: list[Message] = []

    async def app(scope: Any, receive: Receive, send: Any) -> None:
        while True:
            seen.append(message := await receive())
            if message["type"] == "http.disconnect" or not message["more_body"]:
                return

    await WholePieces(app)({"type": "http"}, receive, None)  # type: ignore[arg-type]
    return seen


async def test_a_slow_body_byte_by_byte_becomes_few_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "_PIECE_S", 0.0)  # all of it comes later than that
    seen = await through(receiving(*[b"x"] * (2 * PROGRESS_BYTES + 5)))
    assert [len(message["body"]) for message in seen] == [PROGRESS_BYTES, PROGRESS_BYTES, 5]
    assert [message["more_body"] for message in seen] == [True, True, False]


async def test_a_fast_body_becomes_fewer_still() -> None:
    seen = await through(receiving(*[b"x" * 65_536] * 9))
    assert [len(message["body"]) for message in seen] == [PIECE_BYTES, PIECE_BYTES, 65_536]
    assert [message["more_body"] for message in seen] == [True, True, False]


async def test_large_pieces_stay_and_nothing_is_lost() -> None:
    parts = [bytes([n]) * size for n, size in enumerate((3, PROGRESS_BYTES, 100_000, 0, PIECE_BYTES, 7))]
    assert b"".join(message["body"] for message in await through(receiving(*parts))) == b"".join(parts)


async def test_a_client_that_goes_away_is_noticed() -> None:
    assert [message["type"] for message in await through(receiving(b"half", end=False))] == ["http.disconnect"]


@pytest.mark.parametrize(("stated", "read"), [(MOST_BODY_BYTES, True), (MOST_BODY_BYTES + 1, False), (10**30, False)])
async def test_a_body_that_states_too_much_is_answered_and_read_only_slowly(stated: int, read: bool) -> None:
    asked, sent, reads = [], [], 0

    async def app(*_: Any) -> None:
        asked.append(True)

    async def receive() -> Message:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        return {"type": "http.request", "body": bytes(1 << 16), "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    start = time.monotonic()
    scope = {"type": "http", "headers": [(b"content-length", str(stated).encode())]}
    await HugeBodies(app, Refusals())(scope, receive, send)
    assert bool(asked) == read
    if not read:
        assert sent[0]["status"] == 413
        assert (b"connection", b"close") in sent[0]["headers"]
        assert time.monotonic() - start < 5
        assert 0 < reads < 200


async def test_headers_of_rays_own_come_from_nobody() -> None:
    seen: list[Any] = []

    async def app(scope: Any, *_: Any) -> None:
        seen.extend(scope["headers"])

    headers = [
        (b"x-request-timeout-seconds", b"1"),
        (b"serve-multiplexed-model-id", b"m"),
        (b"x_session_id", b"s"),
        (b"x-faceswap-sent", b"token-1"),
        (b"host", b"a"),
        (b"x-request-id", b"fine"),
        (b"x-request-id", b"not fine"),
    ]
    await OwnHeaders(app)({"type": "http", "headers": headers}, None, None)  # type: ignore[arg-type]
    assert seen == [(b"host", b"a"), (b"x-request-id", b"fine")]
