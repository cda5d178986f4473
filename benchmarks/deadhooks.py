"""Hooks that never answer, in the ways in which hooks do that; made of sockets of this machine, so that they cost it nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

KINDS = ("refusing", "black hole", "hanging", "no name", "slow 500")
_SLOW_S = 3.0
_NO_NAME = "nobody-answers.invalid"


@contextlib.contextmanager
def dead(kind: str) -> Iterator[Callable[[int], str]]:
    """URLs of the n-th host of a kind: each is a host of its own, 127.n.n.n or a name."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("0.0.0.0", 0))
        port = listener.getsockname()[1]
        if kind == "black hole":
            listener.listen(0)
            for _ in range(4):  # what does not fit into the queue is dropped without a word, so connecting never ends
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
        elif kind == "hanging":
            listener.listen(4096)  # the kernel connects, and nobody reads
        elif kind == "slow 500":
            listener.listen(4096)
            stack.enter_context(_answering(listener))

        def url(n: int) -> str:
            host = f"h{n}.{_NO_NAME}" if kind == "no name" else f"127.{1 + n // 60_000}.{n // 250 % 240}.{1 + n % 250}"
            return f"http://{host}:{port}/hook/{n}"

        yield url


@contextlib.contextmanager
def names_that_nobody_answers_for(lookup_s: float = 30.0) -> Iterator[None]:
    """The system's lookups of such names take as long as they do where the name server is silent."""
    over, real = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: object, *arguments: object, **options: object) -> object:
        if str(host).endswith(_NO_NAME):
            over.wait(lookup_s)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return real(host, *arguments, **options)  # type: ignore[arg-type]  # whatever it was called with

    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]  # which is typed argument by argument
    try:
        yield
    finally:
        over.set()
        socket.getaddrinfo = real


@contextlib.contextmanager
def _answering(listener: socket.socket) -> Iterator[None]:
    """500, after a while, on a thread and a loop of its own."""
    loop = asyncio.new_event_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(_SLOW_S)
            writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    def run() -> None:
        server = loop.run_until_complete(asyncio.start_server(answer, sock=listener.dup(), backlog=4096))
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        while not loop.is_running():
            time.sleep(0.01)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
