"""Who asks, and where they think that we live. What a proxy says of both counts only when the proxy is trusted."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{1,5})?")
_PAIR = re.compile(r'(?<![\w-])(for|proto|host)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,"\s]*))', re.IGNORECASE)
_MAX_HOPS = 32
_MAX_FORWARDED = 4096
_IPV6_NEIGHBOURS = 64  # bits: one customer has at least that many addresses


def base_url(request: Request) -> str:
    """Scheme, host and mount point, no slash at the end. A Host header that is no host is not repeated in links."""
    scope = request.scope
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        name, port = scope.get("server") or ("localhost", None)
        name = f"[{name}]" if ":" in name else name
        host = f"{name}:{port}" if port else name
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('root_path', '')}".rstrip("/")


def client_address(scope: Scope) -> str:
    """Whom limits per address count: an IPv4 address, or the /64 of an IPv6 one; "" where the server does not say."""
    client = scope.get("client")
    return _counted(client[0]) if client else ""


class TrustedProxies:
    """ASGI middleware: where the peer is one of `networks`, scope's client, scheme and Host become what the proxies say.

    The client is the rightmost address that is not a proxy of ours; what stands left of it anybody may have written.
    X-Forwarded-For, -Proto and -Host are read, and Forwarded (RFC 7239) where none of the three is there.
    """

    def __init__(self, app: ASGIApp, *, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._app = app
        self._networks = tuple(networks)
        self._trusted = lru_cache(maxsize=4096)(self._is_trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._networks and scope["type"] == "http" and (client := scope.get("client")) and self._trusted(client[0]):
            scope = self._believe(scope)
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope) -> Scope:
        said: dict[str, list[str]] = {"for": [], "proto": [], "host": []}
        standard: list[str] = []
        for name, value in scope["headers"]:
            if name.startswith(b"x-forwarded-") and (word := name[12:].decode("latin-1")) in said:
                said[word] += [part.strip() for part in value.decode("latin-1").split(",")]
            elif name == b"forwarded":
                standard.append(value.decode("latin-1"))
        if standard and not any(said.values()):
            said = _forwarded(", ".join(standard)[-_MAX_FORWARDED:])
        address, hops = self._client(said["for"])
        changed = dict(scope)
        if address:
            changed["client"] = (address, 0)
        if (proto := _at(said["proto"], hops).lower()) in {"http", "https"}:
            changed["scheme"] = proto
        if _HOST.fullmatch(host := _at(said["host"], hops)):
            kept = [pair for pair in scope["headers"] if pair[0] != b"host"]
            changed["headers"] = [*kept, (b"host", host.encode())]
        return changed

    def _client(self, chain: Sequence[str]) -> tuple[str, int]:
        """The client's address, and how many entries from the right it stands; "" where the chain names none."""
        address, hops = "", 1
        for place, entry in enumerate(reversed(chain[-_MAX_HOPS:]), 1):
            found = _address(entry)
            if found is None:
                break  # "unknown", or made up: the last good one is as far as we know
            address, hops = str(found), place
            if not self._trusted(address):
                break
        return address, hops

    def _is_trusted(self, host: str) -> bool:
        found = _address(host)
        return found is not None and any(found in network for network in self._networks)


def _at(values: Sequence[str], hops: int) -> str:
    """What the proxy said that also named the client: lists grow to the right, and a single value is for all."""
    return values[max(0, len(values) - hops)] if values else ""


def _forwarded(value: str) -> dict[str, list[str]]:
    """for, proto and host of a Forwarded header, one entry an element; "" where an element does not say."""
    said: dict[str, list[str]] = {"for": [], "proto": [], "host": []}
    for element in re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', value):
        pairs = {name.lower(): quoted or plain for name, quoted, plain in _PAIR.findall(element)}
        for name, values in said.items():
            values.append(pairs.get(name, ""))
    return said


def _address(entry: str) -> IPv4Address | IPv6Address | None:
    """The address of an entry such as 1.2.3.4, 1.2.3.4:5678, ::1 or [::1]:5678; an IPv4 one in IPv6 clothes comes out undressed."""
    if len(entry) > 64:
        return None
    host = entry[1:].partition("]")[0] if entry.startswith("[") else entry
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


@lru_cache(maxsize=4096)
def _counted(host: str) -> str:
    found = _address(host)
    if isinstance(found, IPv6Address):
        return str(ipaddress.ip_network((int(found) >> _IPV6_NEIGHBOURS << _IPV6_NEIGHBOURS, 128 - _IPV6_NEIGHBOURS)))
    return str(found) if found else host[:64]
