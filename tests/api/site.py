"""A web server that stands for the internet, and a name server that knows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from aiohttp import web

from tests.api.support import sample
from tests.egress.common import OUTSIDE

NAMES = {
    "pictures.example": [[OUTSIDE]],
    "inside.example": [["127.0.0.1"]],
    "localhost": [["127.0.0.1"]],
    "both.example": [[OUTSIDE, "127.0.0.1"]],
}


@dataclass
class Site:
    """A web server that stands for the internet: pictures.example, port `port`."""

    port: int
    files: dict[str, bytes]
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    never: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/face.png") -> str:
        return f"http://user:pass@pictures.example:{self.port}{path}?token=1"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path in self.moved:
            raise web.HTTPFound(self.moved[request.path])
        if request.path == "/slow.png":
            response = web.StreamResponse(headers={"Content-Type": "image/png"})
            await response.prepare(request)
            await response.write(sample(7)[:100])
            await self.never.wait()
        if request.path not in self.files:
            raise web.HTTPNotFound
        return web.Response(body=self.files[request.path], content_type="text/plain")  # the bytes count, not the type
