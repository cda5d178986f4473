"""Two machines on one: `OUTSIDE` stands for the internet and may be called, 127.0.0.1 is what nobody may reach."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from ipaddress import ip_address, ip_network

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from serve_app.egress.address import AddressPolicy
from serve_app.egress.client import Egress

OUTSIDE = "127.0.0.2"
POLICY = AddressPolicy((ip_network(OUTSIDE),))


class Names(AbstractResolver):
    """A name server: `addresses[name]` are its answers, one list for each time that it is asked; the last one stays."""

    def __init__(self, addresses: Mapping[str, list[list[str]]]) -> None:
        self._answers = {name: list(answers) for name, answers in addresses.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self._answers.get(host.rstrip("."))
        if answers is None:
            raise OSError(None, "unknown name")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        kinds = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kinds[ip_address(address).version], proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None: ...


@contextlib.asynccontextmanager
async def reaching(policy: AddressPolicy = POLICY, names: Mapping[str, list[list[str]]] | None = None) -> AsyncIterator[Egress]:
    """A started Egress. names None: the system's lookups."""
    egress = Egress(policy, resolver=None if names is None else Names(names))
    await egress.start()
    try:
        yield egress
    finally:
        await egress.close()


@contextlib.asynccontextmanager
async def website(handle: Callable[[web.Request], Awaitable[web.StreamResponse]], address: str = OUTSIDE) -> AsyncIterator[int]:
    """A web server on `address`; its port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, address, 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def raw_server(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], address: str = OUTSIDE
) -> AsyncIterator[int]:
    """A server that says whatever it likes, to each connection in turn; its port."""
    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            talks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, address, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await server.wait_closed()


class Trap:
    """Listens where nobody may call; counts who does."""

    port: int
    caught = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.caught += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        await writer.drain()


@contextlib.asynccontextmanager
async def trap() -> AsyncIterator[Trap]:
    trapped = Trap()
    async with raw_server(trapped.talk, "127.0.0.1") as trapped.port:
        yield trapped
