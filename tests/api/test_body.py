"""api/body.py: a body past the limit is refused without being read, on the wire too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx2
import pytest
from starlette.types import Message

from tests.api.support import SWAP, MakeService, Service, served, swap_body

LIMIT = 30_000_000


async def ask(service: Service, headers: list[tuple[bytes, bytes]], messages: list[Message]) -> tuple[dict[str, Any], int]:
    """Call the app with these parts of a body; returns the first message of the answer and how many parts were read."""
    read, sent = 0, []

    async def receive() -> Message:
        nonlocal read
        read += 1
        return messages[read - 1]

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": SWAP, "query_string": b"", "headers": headers, "scheme": "http", "server": ("a", 80)}
    await service.app(scope, receive, send)
    return dict(sent[0]), read


async def test_a_stated_length_past_the_limit_is_refused_unread(service: Service) -> None:
    start, read = await ask(service, [(b"content-length", str(LIMIT + 1).encode())], [])
    assert (start["status"], read) == (413, 0)


@pytest.mark.parametrize("stated", [b"", b"5", b"-1", b"many", "٣".encode(), b"9" * 30])
async def test_whatever_length_is_stated_reading_stops_at_the_limit(service: Service, stated: bytes) -> None:
    part: Message = {"type": "http.request", "body": bytes(10_000_000), "more_body": True}
    start, read = await ask(service, [(b"content-length", stated)] if stated else [], [part] * 9)
    assert start["status"] == 413
    assert read <= 4


async def test_a_connection_that_ends_early_keeps_nothing(service: Service) -> None:
    part: Message = {"type": "http.request", "body": b'{"sourceBase64": "', "more_body": True}
    start, _ = await ask(service, [], [part, {"type": "http.disconnect"}])
    assert start["status"] == 200
    assert not service.stored()


@pytest.fixture
async def address(make_service: MakeService) -> AsyncIterator[str]:
    """The service behind a real HTTP server on the loopback."""
    service = await make_service(secret="key")
    async with served(service.app) as url:
        yield url


async def test_the_wire(address: str) -> None:
    headers = {"mj-api-secret": "key"}
    async with httpx2.AsyncClient(base_url=address, headers=headers, timeout=30) as client:
        large = await client.post(SWAP, content=bytes(LIMIT + 1))
        assert (large.status_code, large.json()["code"], large.json()["error"]) == (413, 4, HTTPStatus(413).phrase)
        small = await client.post(SWAP, json=swap_body(sourceBase64="x"))
        assert small.json()["code"] == 4
        accepted = await client.post("/mj-turbo" + SWAP, json=swap_body())
        id = accepted.json()["result"]
        fetched = await client.request("GET", f"/mj/task/{id}/fetch", content=b"null", headers={"content-type": "application/json"})
        assert fetched.json()["mode"] == "TURBO"
        head = await client.head("/mj/image/nope.png")
        assert (head.status_code, head.content) == (404, b"")
        assert (await client.get("/health")).json()["status"] == "ok"
