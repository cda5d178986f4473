"""From a host's name to addresses that may be called."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from serve_app.egress.address import AddressPolicy

_THREADS = 64  # a lookup that nobody answers holds its thread for half a minute


class SystemResolver(AbstractResolver):
    """The system's lookups on threads of their own: the loop's are few, and names that nobody answers for would take them all."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lookup")

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """Raises OSError for an unknown name, UnicodeError for one that cannot be."""

        def look_up() -> list[ResolveResult]:
            found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            return [
                ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST)
                for kind, _, proto, _, address in found
            ]

        return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


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
