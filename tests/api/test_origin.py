"""api/origin.py: what a proxy says counts when it is trusted, up to the first address that is not."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message

from serve_app.api.origin import TrustedProxies, base_url, client_address

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


async def seen(peer: str, headers: dict[str, str], networks: Any = PROXIES) -> tuple[str, str]:
    """The client's address and the base URL that a route sees."""
    found: list[str] = []

    async def route(request: Request) -> JSONResponse:
        found.extend([client_address(request.scope), base_url(request)])
        return JSONResponse({})

    app = TrustedProxies(Starlette(routes=[Route("/", route)]), networks=networks)
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in {"host": "inside:8000", **headers}.items()]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": pairs,
        "scheme": "http",
        "server": ("inside", 8000),
        "client": (peer, 4711),
    }

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_message: Message) -> None:
        pass

    await app(scope, receive, send)
    return found[0], found[1]


EVERYTHING = {
    "X-Forwarded-For": "1.2.3.4",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "faces.example",
    "Forwarded": "for=5.6.7.8;proto=https;host=evil.example",
}


async def test_a_trusted_proxy_is_believed() -> None:
    assert await seen("10.1.2.3", EVERYTHING) == ("1.2.3.4", "https://faces.example")
    assert await seen("::ffff:10.1.2.3", EVERYTHING) == ("1.2.3.4", "https://faces.example")


@pytest.mark.parametrize("peer", ["9.9.9.9", "127.0.0.1", "::1", "11.0.0.1", "localhost", ""])
async def test_nobody_else_is(peer: str) -> None:
    address, base = await seen(peer, EVERYTHING)
    assert address not in ("1.2.3.4", "5.6.7.8")
    assert base == "http://inside:8000"


async def test_without_trusted_proxies_nobody_is() -> None:
    assert await seen("10.1.2.3", EVERYTHING, networks=()) == ("10.1.2.3", "http://inside:8000")


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("1.2.3.4, 10.0.0.9", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.0.0.9, fd00::1", "1.2.3.4"),  # whoever stands left of the first stranger made it up
        ("10.0.0.8, 1.2.3.4", "1.2.3.4"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("[2001:db8:1:2:3::4]:5678", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("10.0.0.7, 10.0.0.9", "10.0.0.7"),  # only proxies: the farthest
        ("unknown, 10.0.0.9", "10.0.0.9"),
        ("1.2.3.4, not an address, 10.0.0.9", "10.0.0.9"),
        ("not an address", "10.1.2.3"),
        ("", "10.1.2.3"),
        ("1.2.3.4" + ", 10.0.0.9" * 1000, "10.0.0.9"),
        ("\xff\xfe, 1.2.3.4", "1.2.3.4"),
        ("x" * 10_000, "10.1.2.3"),
    ],
)
async def test_the_client_is_the_rightmost_stranger(chain: str, address: str) -> None:
    assert (await seen("10.1.2.3", {"X-Forwarded-For": chain}))[0] == address


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"X-Forwarded-Proto": "https"}, "https://inside:8000"),
        ({"X-Forwarded-Proto": "ftp"}, "http://inside:8000"),
        ({"X-Forwarded-Proto": "javascript:"}, "http://inside:8000"),
        ({"X-Forwarded-Host": "faces.example:8443"}, "http://faces.example:8443"),
        ({"X-Forwarded-Host": "<script>"}, "http://inside:8000"),
        ({"X-Forwarded-Host": "a/b"}, "http://inside:8000"),
        ({"X-Forwarded-For": "1.2.3.4, 10.0.0.9", "X-Forwarded-Proto": "https, http"}, "https://inside:8000"),
        ({"X-Forwarded-For": "1.2.3.4, 10.0.0.9", "X-Forwarded-Proto": "https"}, "https://inside:8000"),
        ({"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "http, https"}, "https://inside:8000"),
        ({"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Host": "made.up, faces.example"}, "http://faces.example"),
    ],
)
async def test_links_start_where_the_proxy_was_asked(headers: dict[str, str], base: str) -> None:
    assert (await seen("10.1.2.3", headers))[1] == base


@pytest.mark.parametrize(
    ("value", "address", "base"),
    [
        ("for=1.2.3.4;proto=https;host=faces.example", "1.2.3.4", "https://faces.example"),
        ('For="[2001:db8:1:2:3::4]:5678";Proto=HTTPS', "2001:db8:1:2::/64", "https://inside:8000"),
        ("for=6.6.6.6;host=evil, for=1.2.3.4;host=faces.example, for=10.0.0.9;host=proxy", "1.2.3.4", "http://faces.example"),
        ('for=1.2.3.4;host="a,b;c"', "1.2.3.4", "http://inside:8000"),
        ("for=_hidden", "10.1.2.3", "http://inside:8000"),
        (';;,,=="', "10.1.2.3", "http://inside:8000"),
    ],
)
async def test_the_standard_header(value: str, address: str, base: str) -> None:
    assert await seen("10.1.2.3", {"Forwarded": value}) == (address, base)


def test_neighbours_in_one_ipv6_network_are_one() -> None:
    def of(host: str) -> str:
        return client_address({"client": (host, 1)})

    assert of("2001:db8:1:2::1") == of("2001:db8:1:2:ffff::9") != of("2001:db8:1:3::1")
    assert of("1.2.3.4") != of("1.2.3.5")
    assert client_address({}) == ""
    assert len(of("x" * 10_000)) <= 64
