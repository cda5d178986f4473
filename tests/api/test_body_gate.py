"""api/body.py's BodyGate: bodies that dawdle, come in crowds or take all the room are refused, and the others are not."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from serve_app.api import body
from serve_app.api.body import BodyGate, read_body, release_body
from serve_app.api.errors import ApiError, LastResort, Refusals


@dataclass
class Server:
    """A service that counts the bytes of bodies, behind a real HTTP server. hold: what a request waits for after its body."""

    gate: BodyGate
    port: int
    hold: asyncio.Event
    release: bool = False
    clients: list[Client] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    async def until(self, held: int, coming: int) -> None:
        """Wait until the gate counts so many bytes and bodies."""
        async with asyncio.timeout(10):
            while (self.gate._bytes, len(self.gate._coming)) != (held, coming):
                await asyncio.sleep(0.005)

    async def open(self, head: bytes, address: str = "127.0.0.1") -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        client = Client(reader, writer)
        self.clients.append(client)
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")
        return client

    async def post(self, content: bytes, address: str = "127.0.0.1") -> Answer:
        client = await self.open(b"Content-Length: %d" % len(content), address)
        await client.send(content)
        answer = await client.answer()
        client.close()
        return answer


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Answer:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        if head[0].split()[1] == "100":
            return await self.answer()
        content = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(head[0].split()[1]), headers, content.decode())

    def close(self) -> None:
        self.writer.close()


Start = Callable[..., Awaitable[Server]]


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Server]:
    async def count(request: Request) -> Response:
        content = await read_body(request, 50_000_000)
        size = len(content)
        if server.release:
            del content
            release_body(request)
        server.waiting.append(size)
        await server.hold.wait()
        return PlainTextResponse(str(size))

    app = Starlette(routes=[Route("/", count, methods=["POST"])], exception_handlers={ApiError: Refusals().refused})
    gate = BodyGate(app, **limits)
    listener = socket.create_server(("127.0.0.1", 0))
    http = uvicorn.Server(uvicorn.Config(LastResort(gate, Refusals()), log_config=None, lifespan="off"))
    server = Server(gate, listener.getsockname()[1], asyncio.Event())
    server.hold.set()
    running = asyncio.create_task(http.serve([listener]))
    try:
        yield server
    finally:
        server.hold.set()
        for client in server.clients:
            client.close()
        http.should_exit = True
        await running
        listener.close()
        await server.until(0, 0)  # whatever happened, nothing stays counted


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def make(**gate: Any) -> Server:
            return await stack.enter_async_context(serving(**gate))

        yield make


async def test_a_body_that_takes_too_long_is_refused_and_its_connection_closed(start: Start) -> None:
    server = await start(timeout_s=0.3)
    began = time.monotonic()
    client = await server.open(b"Content-Length: 1000")
    answering = asyncio.create_task(client.answer())
    while time.monotonic() - began < 0.25:  # not into the closed connection: its reset may swallow the answer
        await client.send(b"x")
        await asyncio.wait([answering], timeout=0.02)
    answer = await answering
    assert 0.3 <= time.monotonic() - began < 5
    assert (answer.status, answer.json["code"], answer.json["description"]) == (200, 4, "请求体接收超时")
    assert answer.json["properties"]["field"] == "body"
    assert answer.headers["connection"] == "close"
    assert await client.reader.read() == b""
    client.close()
    assert (await server.post(b"quick")).text == "5"


async def test_an_address_may_send_so_many_at_a_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_PATIENCE_S", 0.1)
    server = await start(per_address=3)
    slow = [await server.open(b"Transfer-Encoding: chunked") for _ in range(3)]
    for client in slow:
        await client.send(b"2\r\nab\r\n")
    await server.until(6, 3)
    answer = await server.post(b"one more")
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (429, 23, "1")
    assert answer.json["error"] == "Too Many Requests"
    assert (await server.post(b"a neighbour", address="127.0.0.2")).text == "11"
    await slow[0].send(b"0\r\n\r\n")
    assert (await slow[0].answer()).text == "2"
    assert (await server.post(b"one more")).text == "8"
    slow[1].close()  # who goes away makes room too
    slow[2].close()
    await server.until(0, 0)
    for client in [await server.open(b"Content-Length: 2") for _ in range(3)]:
        await client.send(b"ab")
        assert (await client.answer()).text == "2"
        client.close()


async def test_a_burst_from_one_address_takes_turns(start: Start) -> None:
    server = await start(per_address=2)
    slow = [await server.open(b"Content-Length: 2") for _ in range(2)]
    await server.until(0, 2)
    burst = [asyncio.create_task(server.post(b"hello")) for _ in range(10)]
    for client in slow:
        await client.send(b"ab")
    assert {(await answer).text for answer in burst} == {"5"}


async def test_an_address_with_many_bodies_gives_a_place_to_one_with_fewer(start: Start) -> None:
    server = await start(max_bodies=4)
    crowd = [await server.open(b"Content-Length: 1000") for _ in range(3)]
    other = await server.open(b"Content-Length: 3", address="127.0.0.2")
    await server.until(0, 4)
    assert (await server.post(b"hello", address="127.0.0.3")).text == "5"
    given_up = [asyncio.create_task(client.answer()) for client in crowd]
    done, _ = await asyncio.wait(given_up, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert [answer.result().json["description"] for answer in done] == ["请求体接收超时"]
    await other.send(b"abc")
    assert (await other.answer()).text == "3"
    for answer in given_up:
        answer.cancel()
    for client in (*crowd, other):
        client.close()


async def test_requests_that_wait_after_their_body_do_not_count(start: Start) -> None:
    server = await start(per_address=1)
    server.hold.clear()
    first = asyncio.create_task(server.post(b"abc"))
    await server.until(3, 0)
    second = asyncio.create_task(server.post(b"abcd"))
    await server.until(7, 0)
    server.hold.set()
    assert [(await first).text, (await second).text] == ["3", "4"]


@pytest.mark.parametrize("head", [b"Content-Length: 600000", b"Transfer-Encoding: chunked"])
async def test_all_bodies_together_have_a_bound(start: Start, head: bytes) -> None:
    server = await start(max_bytes=1_000_000)
    server.hold.clear()
    held = asyncio.create_task(server.post(bytes(600_000)))
    await server.until(600_000, 0)
    client = await server.open(head)
    if b"chunked" in head:
        await client.send(b"%x\r\n" % 600_000 + bytes(600_000) + b"\r\n")
    answer = await client.answer()  # at once, and where the length is stated without a byte of it
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, 23, "1")
    assert answer.json["description"] == "服务器繁忙，请稍后尝试"
    client.close()
    small = asyncio.create_task(server.post(b"small"))
    server.hold.set()
    assert ((await held).text, (await small).text) == ("600000", "5")
    assert (await server.post(bytes(600_000))).text == "600000"


async def test_a_route_may_say_that_the_bytes_are_gone(start: Start) -> None:
    server = await start(max_bytes=1_000_000)
    server.release = True
    server.hold.clear()
    waiting = []
    for _ in range(3):
        waiting.append(asyncio.create_task(server.post(bytes(600_000))))
        async with asyncio.timeout(10):
            while len(server.waiting) < len(waiting):
                await asyncio.sleep(0.005)
    await server.until(0, 0)
    server.hold.set()
    assert [(await task).text for task in waiting] == ["600000"] * 3


async def test_when_room_is_short_bodies_that_stand_still_go_first(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_STALLED_S", 0.2)
    server = await start(max_bytes=1_000_000)
    stalled = await server.open(b"Content-Length: 900000")
    await stalled.send(bytes(600_000))
    await server.until(600_000, 1)
    moving = await server.open(b"Content-Length: 300000", address="127.0.0.2")
    for _ in range(5):
        await asyncio.sleep(0.08)
        await moving.send(bytes(20_000))
    answer = await server.post(bytes(500_000), address="127.0.0.3")
    assert answer.text == "500000"
    assert (await stalled.answer()).json["description"] == "请求体接收超时"
    await moving.send(bytes(200_000))
    assert (await moving.answer()).text == "300000"
    stalled.close()
    moving.close()


async def test_a_crowd_of_stalled_bodies_gives_way(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_STALLED_S", 0.2)
    server = await start(max_bodies=32)
    crowd = [await server.open(b"Content-Length: 1000", address=f"127.0.1.{number // 8 + 1}") for number in range(32)]
    await server.until(0, 32)
    await asyncio.sleep(0.3)  # they stand still for that long
    for _ in range(20):
        assert (await server.post(b"hello")).text == "5"
    gone = await crowd[0].answer()
    assert gone.json["description"] == "请求体接收超时"
    for client in crowd:
        client.close()


async def test_a_refused_body_is_not_asked_for(start: Start) -> None:
    """With Expect: 100-continue the client waits, and is refused before it has sent anything."""
    server = await start(per_address=0)
    client = await server.open(b"Content-Length: 1000\r\nExpect: 100-continue")
    raw = await asyncio.wait_for(client.reader.readline(), 5)
    assert raw.startswith(b"HTTP/1.1 429 ")
    client.close()
    server = await start()
    client = await server.open(b"Content-Length: 3\r\nExpect: 100-continue")
    assert await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"abc")
    assert (await client.answer()).text == "3"
    client.close()


async def test_nothing_stays_counted() -> None:
    """Whatever happens to a request, its body is off the books afterwards."""

    async def route(scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        if scope["path"] == "/fail":
            raise ValueError
        if scope["path"] == "/cancel":
            await asyncio.sleep(30)
        await receive()

    gate = BodyGate(route, max_bytes=50)
    parts: dict[str, list[Message]] = {
        "/fail": [{"type": "http.request", "body": b"x" * 10, "more_body": True}],
        "/cancel": [{"type": "http.request", "body": b"x" * 10, "more_body": True}],
        "/gone": [{"type": "http.request", "body": b"x" * 10, "more_body": True}, {"type": "http.disconnect"}],
        "/over": [{"type": "http.request", "body": b"x" * 51, "more_body": True}],
        "/good": [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.request"}],
    }
    for path, messages in parts.items():
        left = iter(messages)

        async def receive(left: Any = left) -> Message:
            return next(left)

        scope = {"type": "http", "path": path, "client": ("1.2.3.4", 1), "headers": [(b"transfer-encoding", b"chunked")]}
        # Never sends, so that anything will do for send.
        task = asyncio.create_task(gate(scope, receive, receive))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if path == "/cancel":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (gate._bytes, len(gate._coming), len(gate._addresses)) == (0, 0, 0), path
