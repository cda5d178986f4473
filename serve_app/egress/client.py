"""The only way out: HTTP requests to addresses that strangers name, for hooks and for pictures."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Literal

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from serve_app.egress.address import AddressPolicy, AddressRefused
from serve_app.egress.resolver import CheckedResolver, SystemResolver

Reason = Literal["address", "network", "time", "status", "redirects", "encoding", "size"]

_AGENT = {"User-Agent": "faceswap-serve"}
_PICTURES = {"Accept": "image/jpeg, image/png, image/webp, */*;q=0.1", "Accept-Encoding": "identity"}
_MOVED = {301, 302, 303, 307, 308}
_REDIRECTS = 3
_SHORT_BYTES, _SHORT_S = 16_384, 0.2
_NO_URL = "not an http or https URL with a host that can be called"
_NAME = re.compile(r"[a-z0-9_.-]{1,254}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as the last label: what resolvers read as a part of an IPv4 address


class FetchFailed(Exception):
    """A request that brought nothing. str(): one short English phrase for users, without the URL's userinfo, path or query.

    reason: address (refused, or no URL), network (no connection, or it broke), time, and of a picture: status, redirects, encoding, size.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class Egress:
    """A guarded HTTP client, while it is started.

    A name is resolved once for a connection, all its addresses are checked, and the socket is opened to one of those; every socket is
    checked again when it is opened, which also covers addresses written out in a URL. Connections are reused by host, port and TLS, so
    only to checked addresses. No proxy and no netrc of the environment, no cookies, and bodies as they were sent, not decompressed.
    At most `connections` are open at a time, and at most `lookups` names are looked up; the wait for one is part of a request's time.
    """

    def __init__(
        self, policy: AddressPolicy, *, connections: int = 32, lookups: int = 64, resolver: AbstractResolver | None = None
    ) -> None:
        self._policy = policy
        self._connections = connections
        self._lookups = lookups
        self._inner = resolver

    async def start(self) -> None:
        """On the running loop."""
        self._resolver = CheckedResolver(self._policy, self._inner or SystemResolver(self._lookups))
        connector = aiohttp.TCPConnector(resolver=self._resolver, socket_factory=self._socket, limit=self._connections)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=_AGENT,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # each request has its own, for all of it
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()
        await self._resolver.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> tuple[int, str | None]:
        """The answer's status and its Retry-After. Redirects are not followed. The answer's body, which may never end, is read only where
        it is short and there at once, so that the connection can be used again.

        Raises AddressRefused, also for what is no URL, and FetchFailed (network, time), after which another try makes sense.
        """
        target = _target(url)
        async with _limited(target, timeout_s), self._session.post(target, data=body, headers=headers, allow_redirects=False) as answer:
            await _pass_over(answer)
            return answer.status, answer.headers.get("Retry-After")

    async def get(self, url: str, *, max_bytes: int, timeout_s: float) -> bytes:
        """The picture at the URL, after at most three redirects, within `timeout_s` for all of it. Raises FetchFailed only."""
        try:
            target = _target(url)
            async with _limited(target, timeout_s):
                return await self._follow(target, max_bytes)
        except AddressRefused as refused:
            raise FetchFailed("address", str(refused)) from None

    async def _follow(self, target: URL, max_bytes: int) -> bytes:
        for _ in range(1 + _REDIRECTS):
            async with self._session.get(target, headers=_PICTURES, allow_redirects=False) as answer:
                location = answer.headers.get("Location") if answer.status in _MOVED else None
                if location is None:
                    return await _body(answer, max_bytes)
            target = _target(target.join(URL(location)))
        raise FetchFailed("redirects", f"{target.host} redirects more than {_REDIRECTS} times")

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The last gate: what is checked here is what the socket connects to."""
        family, kind, protocol, _, address = info
        self._policy.check(ip_address(address[0]))
        return socket.socket(family, kind, protocol)


def _target(url: str | URL) -> URL:
    """The URL as it will be called, with a host that every reader takes for the same. Raises AddressRefused.

    Hosts that resolvers read as IPv4 addresses in other ways than four decimal numbers are refused, and IPv6 zones.
    """
    try:
        target = URL(url)
        host = target.raw_host or ""
        number = _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2])
        if ":" in host:
            fine = IPv6Address(host).scope_id is None
        elif number:
            fine = str(IPv4Address(host)) == host
        else:
            fine = _NAME.fullmatch(host) is not None
        if fine and target.scheme in ("http", "https") and target.port:
            return target
    except ValueError:  # yarl's and ipaddress's words would quote all of it
        pass
    raise AddressRefused(_NO_URL)


@contextlib.asynccontextmanager
async def _limited(target: URL, timeout_s: float) -> AsyncIterator[None]:
    """A deadline for the block, and our own words for what fails in it: the library's quote whole URLs."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise FetchFailed("time", f"{target.host} took longer than {timeout_s:g} s") from None
    except aiohttp.ClientConnectorDNSError:
        raise FetchFailed("network", f"{target.host} has no address") from None
    except aiohttp.ClientSSLError:
        raise FetchFailed("network", f"{target.host} has no TLS certificate that is trusted") from None
    except aiohttp.ClientConnectorError:
        raise FetchFailed("network", f"{target.host} does not accept connections") from None
    except ValueError:  # names and userinfo that cannot be sent
        raise AddressRefused(_NO_URL) from None
    except (aiohttp.ClientError, OSError):
        raise FetchFailed("network", f"the connection to {target.host} broke off") from None


async def _pass_over(answer: aiohttp.ClientResponse) -> None:
    """Read a short body to its end, if it comes soon; what is not read costs the connection, nothing else."""
    left = _SHORT_BYTES
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_SHORT_S):
            while left > 0 and not answer.content.at_eof() and (answer.content_length or 0) <= left:
                left -= len(await answer.content.readany())


async def _body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """All of it, as it was sent; given up as soon as it is known to be too large."""
    host = answer.url.host
    if answer.status != 200:
        raise FetchFailed("status", f"{host} answered HTTP {answer.status}")
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise FetchFailed("encoding", f"{host} sent a compressed body although it was asked not to")
    body = bytearray()
    if (answer.content_length or 0) <= max_bytes:
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > max_bytes:
                break
        else:
            return bytes(body)
    raise FetchFailed("size", f"the file at {host} is larger than {max_bytes} bytes")
