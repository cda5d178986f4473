from __future__ import annotations

import asyncio
import gzip
import itertools
import logging
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serve_app.egress.address import AddressRefused
from serve_app.egress.client import Egress, FetchFailed
from serve_app.egress.resolver import SystemResolver
from tests.egress.common import OUTSIDE, POLICY, Names, raw_server, reaching, trap, website

NAMES = {"pictures.example": [[OUTSIDE]], "other.example": [[OUTSIDE]], "inside.example": [["127.0.0.1"]], "closed.example": [[OUTSIDE]]}
SECRETS = ("pa55", "s3cret", "t0ken")


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    async with reaching(POLICY, NAMES) as egress:
        yield egress


async def failure(egress: Egress, url: str, max_bytes: int = 1000, timeout_s: float = 5.0) -> FetchFailed:
    with pytest.raises(FetchFailed) as failed:
        await egress.get(url, max_bytes=max_bytes, timeout_s=timeout_s)
    return failed.value


async def drain(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_a_picture_comes_from_the_checked_address_under_the_name_that_was_asked_for(egress: Egress) -> None:
    async def handle(request: web.Request) -> web.Response:
        told = {name: request.headers[name] for name in ("Host", "Accept-Encoding", "User-Agent")}
        assert request.transport is not None
        return web.json_response({**told, "path": request.path_qs, "at": request.transport.get_extra_info("sockname")[0]})

    async with website(handle) as port:
        picture = await egress.get(f"http://Pictures.Example:{port}/a%20b/é.png?size=1#top", max_bytes=1000, timeout_s=5)
    assert picture == (
        b'{"Host": "pictures.example:%d", "Accept-Encoding": "identity", "User-Agent": "faceswap-serve", '
        b'"path": "/a%%20b/%%C3%%A9.png?size=1", "at": "127.0.0.2"}' % port
    )


async def test_name_and_connection_cannot_disagree_when_the_answer_changes() -> None:
    """DNS rebinding: the name server says something harmless first, and 127.0.0.1 ever after."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=b"picture")

    names = Names({"rebinding.example": [[OUTSIDE], ["127.0.0.1"]]})
    egress = Egress(POLICY, resolver=names)
    await egress.start()
    async with website(handle) as port, trap() as trapped:
        assert await egress.get(f"http://rebinding.example:{port}/", max_bytes=1000, timeout_s=5) == b"picture"
        assert names.asked == ["rebinding.example"]
        error = await failure(egress, f"http://rebinding.example:{trapped.port}/")
        assert str(error) == "rebinding.example: loopback addresses are not called"
        assert trapped.caught == 0
    await egress.close()


async def test_the_socket_is_checked_even_when_the_names_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses written in a URL pass a resolver by; so does whatever a later release of the library may do."""
    monkeypatch.setattr("serve_app.egress.client.CheckedResolver", lambda policy, resolver: resolver)
    async with trap() as trapped, reaching(POLICY, NAMES) as egress:
        for host in ("127.0.0.1", "inside.example"):
            assert (await failure(egress, f"http://{host}:{trapped.port}/")).reason == "address"
        assert trapped.caught == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{trap}/",
        "http://inside.example:{trap}/",
        "//127.0.0.1:{trap}/",
        "http://2130706433:{trap}/",
        "http://[::ffff:127.0.0.1]:{trap}/",
        "file:///etc/passwd",
        "http://[half/",
    ],
)
async def test_a_redirect_inward_is_refused(egress: Egress, status: int, location: str) -> None:
    async with trap() as trapped:

        async def handle(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": location.format(trap=trapped.port)})

        async with website(handle) as port:
            assert (await failure(egress, f"http://pictures.example:{port}/")).reason == "address"
        assert trapped.caught == 0


async def test_three_redirects_are_followed_and_no_more(egress: Egress) -> None:
    async def handle(request: web.Request) -> web.Response:
        left = int(request.path[1:])
        if left:
            host = ("other.example", "pictures.example")[left % 2]
            return web.Response(status=302, headers={"Location": f"//{host}:{port}/{left - 1}" if left > 1 else "/0"})
        return web.Response(body=b"picture")

    async with website(handle) as port:
        assert await egress.get(f"http://pictures.example:{port}/3", max_bytes=1000, timeout_s=5) == b"picture"
        assert (await failure(egress, f"http://pictures.example:{port}/4")).reason == "redirects"


async def test_a_password_is_not_carried_to_another_host(egress: Egress) -> None:
    heard: list[str | None] = []

    async def handle(request: web.Request) -> web.Response:
        heard.append(request.headers.get("Authorization"))
        if request.path == "/first":
            return web.Response(status=302, headers={"Location": f"http://other.example:{port}/second"})
        return web.Response(body=b"picture")

    async with website(handle) as port:
        await egress.get(f"http://user:pa55@pictures.example:{port}/first", max_bytes=1000, timeout_s=5)
    assert heard == ["Basic dXNlcjpwYTU1", None]


async def test_a_body_without_a_length_is_cut_off_at_the_cap(egress: Egress) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await drain(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            sent += 65536

    async with raw_server(talk) as port:
        assert (await failure(egress, f"http://pictures.example:{port}/", max_bytes=100_000)).reason == "size"
    assert sent < 20_000_000, "what the sockets' buffers hold, and no more"


async def test_a_body_that_says_it_is_too_large_is_not_read(egress: Egress) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await drain(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")  # and none of it ever comes
        await reader.read()

    async with raw_server(talk) as port:
        assert (await failure(egress, f"http://pictures.example:{port}/", max_bytes=1000)).reason == "size"


@pytest.mark.parametrize("framing", ["content-length", "chunked", "until the end"])
async def test_a_body_of_exactly_the_cap_is_whole(egress: Egress, framing: str) -> None:
    head, body = {
        "content-length": (b"Content-Length: 1000\r\n", bytes(1000)),
        "chunked": (b"Transfer-Encoding: chunked\r\n", b"3e8\r\n" + bytes(1000) + b"\r\n0\r\n\r\n"),
        "until the end": (b"Connection: close\r\n", bytes(1000)),
    }[framing]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await drain(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
        await writer.drain()

    async with raw_server(talk) as port:
        assert await egress.get(f"http://pictures.example:{port}/", max_bytes=1000, timeout_s=5) == bytes(1000)


@pytest.mark.parametrize("slow", ["silent", "headers", "body", "informational", "redirects"])
async def test_a_server_that_trickles_is_cut_off(egress: Egress, slow: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await drain(reader)
        if slow == "silent":
            await reader.read()
        if slow == "redirects":
            await asyncio.sleep(0.2)
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n")
            return await talk(reader, writer)
        writer.write({"headers": b"HTTP/1.1 200 OK\r\nX: ", "body": b"HTTP/1.1 200 OK\r\n\r\n"}.get(slow, b""))
        while True:
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" if slow == "informational" else b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_server(talk) as port:
        began = time.monotonic()
        assert (await failure(egress, f"http://pictures.example:{port}/", timeout_s=0.5)).reason == "time"
        assert 0.45 < time.monotonic() - began < 2


async def test_endless_headers_end_soon(egress: Egress) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await drain(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in itertools.count():
            writer.write(b"X-%d: %s\r\n" % (number, b"x" * 1000))
            await writer.drain()

    async with raw_server(talk) as port:
        assert (await failure(egress, f"http://pictures.example:{port}/")).reason == "network"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "Identity, GZIP"])
async def test_a_compressed_body_is_not_unpacked(egress: Egress, encoding: str) -> None:
    bomb = gzip.compress(bytes(50_000_000))

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": encoding})

    async with website(handle) as port:
        assert (await failure(egress, f"http://pictures.example:{port}/", max_bytes=10_000_000)).reason == "encoding"


@pytest.mark.parametrize("status", [201, 204, 206, 300, 304, 400, 401, 404, 500, 503])
async def test_anything_but_200_is_no_picture(egress: Egress, status: int) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with website(handle) as port:
        assert str(await failure(egress, f"http://pictures.example:{port}/")) == f"pictures.example answered HTTP {status}"


def server_context(folder: Path, host: str) -> ssl.SSLContext:
    """With a certificate for `host` that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


async def test_tls_is_asked_for_by_name_and_a_certificate_that_nobody_signed_is_not_trusted(egress: Egress, tmp_path: Path) -> None:
    asked: list[str | None] = []
    context = server_context(tmp_path, "pictures.example")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("the handshake must fail")

    server = await asyncio.start_server(never, OUTSIDE, 0, ssl=context)
    async with server:
        error = await failure(egress, f"https://pictures.example:{server.sockets[0].getsockname()[1]}/")
    assert str(error) == "pictures.example has no TLS certificate that is trusted"
    assert asked == ["pictures.example"]


async def test_proxies_and_passwords_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=repr(request.headers.get("Authorization")).encode())

    (tmp_path / "netrc").write_text("default login user password pa55")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with trap() as trapped:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trapped.port}")
        async with website(handle) as port, reaching(POLICY, NAMES) as egress:
            assert await egress.get(f"http://pictures.example:{port}/", max_bytes=1000, timeout_s=5) == b"None"
        assert trapped.caught == 0


async def test_cookies_are_not_kept(egress: Egress) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=repr(dict(request.cookies)).encode(), headers={"Set-Cookie": "a=b"})

    async with website(handle) as port:
        for _ in range(2):
            assert await egress.get(f"http://pictures.example:{port}/", max_bytes=1000, timeout_s=5) == b"{}"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://{secrets}@pictures.example:{port}/s3cret/?key=t0ken#t0ken", "pictures.example answered HTTP 404"),
        ("http://{secrets}@unknown.example/s3cret/?key=t0ken", "unknown.example has no address"),
        ("http://{secrets}@closed.example:{closed}/s3cret/?key=t0ken", "closed.example does not accept connections"),
        ("http://{secrets}@inside.example/s3cret/?key=t0ken", "inside.example: loopback addresses are not called"),
        ("http://{secrets}@10.0.0.1/s3cret/?key=t0ken", "10.0.0.1: private addresses are not called"),
        ("http://{secrets}@[half/s3cret/?key=t0ken", "not an http or https URL with a host that can be called"),
        ("http://{secrets}@pictures.example:99999/s3cret?t0ken", "not an http or https URL with a host that can be called"),
        ("ftp://{secrets}@pictures.example/s3cret/?key=t0ken", "not an http or https URL with a host that can be called"),
        ("http://us%3Aer:pa55@pictures.example/s3cret?t0ken", "not an http or https URL with a host that can be called"),
        ("http://user:pa55脸@pictures.example/s3cret?t0ken", "not an http or https URL with a host that can be called"),
    ],
)
async def test_a_failure_is_told_without_the_urls_secrets(egress: Egress, caplog: pytest.LogCaptureFixture, url: str, says: str) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=404)

    with socket.socket() as closed:
        closed.bind((OUTSIDE, 0))  # and does not listen
        async with website(handle) as port:
            error = await failure(egress, url.format(secrets="user:pa55", port=port, closed=closed.getsockname()[1]))
    assert str(error) == says
    logging.getLogger(__name__).error("as callers log it", exc_info=error)
    assert says in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)


async def test_a_hook_is_posted_once_and_says_when_to_come_again(egress: Egress) -> None:
    heard: list[tuple[str, bytes, str]] = []

    async def handle(request: web.Request) -> web.Response:
        heard.append((request.path_qs, await request.read(), request.headers["webhook-id"]))
        return web.Response(status=429, headers={"Retry-After": "7"})

    async with website(handle) as port:
        url = f"http://other.example:{port}/hook?a=1"
        assert await egress.post(url, b"{}", {"webhook-id": "1-SUCCESS"}, timeout_s=5) == (429, "7")
    assert heard == [("/hook?a=1", b"{}", "1-SUCCESS")]


async def test_a_hook_is_not_redirected(egress: Egress) -> None:
    heard: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        heard.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with website(handle) as port:
        assert await egress.post(f"http://other.example:{port}/hook", b"{}", {}, timeout_s=5) == (307, None)
    assert heard == ["/hook"]


async def test_a_hooks_endless_answer_is_not_read(egress: Egress) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await drain(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    async with raw_server(talk) as port:
        assert await egress.post(f"http://other.example:{port}/hook", b"{}", {}, timeout_s=5) == (200, None)


@pytest.mark.parametrize(("url", "expected"), [("http://unknown.example/", "network"), ("http://other.example:{port}/", "time")])
async def test_a_hook_that_does_not_answer_may_be_tried_again(egress: Egress, url: str, expected: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(talk) as port:
        with pytest.raises(FetchFailed) as failed:
            await egress.post(url.format(port=port), b"{}", {}, timeout_s=0.3)
    assert failed.value.reason == expected


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example", ".", "example." * 40])
async def test_names_that_cannot_be_are_refused_or_unknown(host: str) -> None:
    """With the system's lookups: some of these are refused by its codecs, not by its name servers."""
    async with reaching(POLICY) as egress:
        with pytest.raises((AddressRefused, FetchFailed)):
            await egress.post(f"http://{host}/", b"{}", {}, timeout_s=5)


async def test_connections_to_a_hook_are_reused(egress: Egress) -> None:
    peers: set[int] = set()

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername")[1])
        return web.Response()

    async with website(handle) as port:
        for _ in range(5):
            await egress.post(f"http://other.example:{port}/hook", b"{}", {}, timeout_s=5)
    assert len(peers) == 1


async def test_no_more_connections_than_agreed() -> None:
    now = most = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(now, most)
        await asyncio.sleep(0.02)
        now -= 1
        return web.Response(body=b"picture")

    egress = Egress(POLICY, connections=3, resolver=Names(NAMES))
    await egress.start()
    async with website(handle) as port:
        urls = [f"http://{host}:{port}/" for host in ("pictures.example", "other.example")] * 6
        await asyncio.gather(*(egress.get(url, max_bytes=1000, timeout_s=5) for url in urls))
    await egress.close()
    assert most == 3


async def test_the_systems_lookups_find_names_and_written_out_addresses() -> None:
    resolver = SystemResolver()
    found = await resolver.resolve("localhost", 80)
    assert {result["host"] for result in found} <= {"127.0.0.1", "::1"}
    assert {result["port"] for result in found} == {80}
    await resolver.close()


async def test_names_that_nobody_answers_for_hold_none_of_the_loops_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        answered.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    async with reaching(POLICY) as egress:
        hung = [asyncio.create_task(failure(egress, f"http://{number}.example/", timeout_s=5)) for number in range(48)]
        try:
            async with asyncio.timeout(2):
                assert await asyncio.to_thread(lambda: "free") == "free"
        finally:
            answered.set()
        assert {error.reason for error in await asyncio.gather(*hung)} == {"network"}


async def test_names_that_nobody_answers_for_stop_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    over, real = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: object, **options: object) -> object:
        if host.endswith(".invalid"):
            over.wait(30)
        return real(host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = SystemResolver(threads=101)
    stuck = [asyncio.create_task(resolver.resolve(f"n{n}.invalid")) for n in range(100)]
    await asyncio.sleep(0)
    assert (await resolver.resolve("127.0.0.1"))[0]["host"] == "127.0.0.1"
    for task in stuck:  # who asked gives up; the threads go on
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    again = asyncio.create_task(resolver.resolve("n.invalid"))
    await asyncio.sleep(0)
    waits = asyncio.create_task(resolver.resolve("127.0.0.1"))
    await asyncio.sleep(0.05)
    assert not waits.done(), "there are no more threads than were allowed"
    over.set()
    assert (await waits)[0]["host"] == "127.0.0.1"
    await asyncio.gather(again, return_exceptions=True)
