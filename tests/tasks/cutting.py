"""A way to PostgreSQL that breaks while a transaction commits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType

from sqlalchemy.engine import make_url


class Cut(Enum):
    """What becomes of a COMMIT whose sender hears nothing more: done, never sent on, or sent on when `go_on` is set."""

    DONE = auto()
    LOST = auto()
    LATE = auto()


class CuttingProxy:
    """Passes on all that is said. next: how the next COMMIT ends, of a write, or of a read with `of_read`. closed: nobody else is let in.

    broken: set when a connection was cut; sent: when a COMMIT of which its sender heard nothing was done.
    """

    def __init__(self, where: str) -> None:
        self._url = make_url(where)
        self.next: Cut | None = None
        self.of_read = False
        self.closed = False
        self.broken, self.go_on, self.sent = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def where(self) -> str:
        port = self._listener.sockets[0].getsockname()[1]
        return self._url.set(port=port).render_as_string(hide_password=False)

    async def __aenter__(self) -> CuttingProxy:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._listener.wait_closed()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.closed:
            to_client.transport.abort()
            return
        server, to_server = await asyncio.open_connection("127.0.0.1", self._url.port)
        self._writers |= {to_client, to_server}
        reads = False
        down = asyncio.create_task(_pass_on(server, to_client))
        with suppress(ConnectionError):
            while data := await client.read(65536):
                if b"BEGIN" in data:
                    reads = b"READ ONLY" in data
                if self.next is not None and b"COMMIT;" in data and reads is self.of_read:
                    down.cancel()
                    await asyncio.wait([down])
                    await self._break(data, server, to_server, to_client)
                    break
                to_server.write(data)
        to_server.close()

    async def _break(
        self, commit: bytes, server: asyncio.StreamReader, to_server: asyncio.StreamWriter, to_client: asyncio.StreamWriter
    ) -> None:
        cut, self.next = self.next, None
        if cut is Cut.DONE:
            to_server.write(commit)
            assert b"COMMIT" in await server.read(65536)
            self.sent.set()
        to_client.transport.abort()
        self.broken.set()
        if cut is Cut.LATE:
            await self.go_on.wait()
            to_server.write(commit)
            assert b"COMMIT" in await server.read(65536)
            self.sent.set()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()
