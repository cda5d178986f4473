"""From a host's name to addresses that may be called."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from serve_app.egress.address import AddressPolicy

Found: TypeAlias = list[ResolveResult]

_THREADS, _MOST_THREADS = 64, 1200  # a lookup that nobody answers holds its thread for half a minute
_LIMIT = Path("/sys/fs/cgroup/pids.max")


class SystemResolver(AbstractResolver):
    """The system's lookups, each on a thread of its own, at most `threads` at a time: a name that nobody answers for holds its thread for
    half a minute, whoever waits for it. The loop's own threads are few; and a pool's would keep the process from ending."""

    def __init__(self, threads: int = _THREADS) -> None:
        self._free = asyncio.Semaphore(threads)

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> Found:
        """Raises OSError for an unknown name, UnicodeError for one that cannot be."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()

        def end(found: Found | None, error: Exception | None) -> None:
            self._free.release()
            if answer.cancelled():
                return
            if error:
                answer.set_exception(error)
            else:
                answer.set_result(found or [])

        def work() -> None:
            found, error = None, None
            try:
                found = _look_up(host, port, family)
            except Exception as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is gone, and who asked with it
                loop.call_soon_threadsafe(end, found, error)

        try:
            threading.Thread(target=work, name="lookup", daemon=True).start()
        except RuntimeError as error:  # the system has no more threads
            self._free.release()
            raise OSError(None, str(error)) from None
        return await answer

    async def close(self) -> None:
        """Lookups under way end by themselves."""


def _look_up(host: str, port: int, family: socket.AddressFamily) -> Found:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST)
        for kind, _, proto, _, address in found
    ]


def affordable(wanted: int) -> int:
    """So many lookups at a time, but with no more than a quarter of the threads that this container may have."""
    most = _MOST_THREADS
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        most = min(most, int(_LIMIT.read_text()) // 4)
    return max(1, min(wanted, most))


class CheckedResolver(AbstractResolver):
    """Refuses a name as a whole when any of its addresses is refused: such a name is meant for somebody inside."""

    def __init__(self, policy: AddressPolicy, resolver: AbstractResolver) -> None:
        self._policy = policy
        self._resolver = resolver

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """Raises AddressRefused, and what the inner resolver raises."""
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            self._policy.check(ip_address(result["host"]), host)
        return found

    async def close(self) -> None:
        await self._resolver.close()
