"""A hook: a real HTTP server on the loopback that writes down what it hears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

from aiohttp import web

Answer = Callable[[int], Awaitable[web.Response]]


@dataclass
class Heard:
    path: str
    webhook_id: str
    content_type: str
    body: dict[str, object]
    data: bytes
    headers: dict[str, str]  # names in lower case


async def ok(_count: int) -> web.Response:
    return web.Response(text="heard")


@dataclass
class Receiver:
    """`answer(n)` makes the answer to the n-th request, counted from 0."""

    answer: Answer = ok
    port: int = 0
    heard: list[Heard] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Receiver:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._post)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook"

    def states(self) -> list[object]:
        return [heard.body["status"] for heard in self.heard]

    async def has_heard(self, count: int, within_s: float = 10.0) -> list[Heard]:
        """The first `count` requests, as soon as they have come."""
        async with asyncio.timeout(within_s), self._news:
            await self._news.wait_for(lambda: len(self.heard) >= count)
        return self.heard[:count]

    async def _post(self, request: web.Request) -> web.Response:
        count = len(self.heard)
        data, headers = await request.read(), {name.lower(): value for name, value in request.headers.items()}
        self.heard.append(Heard(request.path, headers["webhook-id"], request.content_type, json.loads(data), data, headers))
        async with self._news:
            self._news.notify_all()
        return await self.answer(count)
