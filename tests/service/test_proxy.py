"""Ray's proxy under load and after its death."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ray.serve._private import constants

from serve_app.deployments import environment
from tests.service.client import Client
from tests.service.processes import PROXY, named

CLIENTS = 200
SECONDS = 25.0  # a proxy that may answer within 2 s only is killed after 15 to 20 s of it


def test_ray_reads_what_we_set_for_its_proxy() -> None:
    source = Path(constants.__file__).read_text()
    ours = (environment.ONE_MACHINE, environment.EVERY_NODE, environment.HAPROXY, environment.HAPROXY_FILES, environment.HAPROXY_PORTS)
    for name in (environment.BINARY, *chain.from_iterable(ours)):
        if name.startswith("RAY_SERVE_"):
            assert f'"{name}"' in source, f"Ray does not know {name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-request-id", "Größe".encode("latin-1")),
        ("x-request-id", b"a" * 3000),
        ("x-request-timeout-seconds", b"0.000001"),
        ("x-request-disconnect-disabled", b"?1"),
        ("serve_multiplexed_model_id", b"\xff"),
        ("x-session-id", b"\xff"),
    ],
)
def test_headers_that_steer_ray_are_not_for_strangers(client: Client, name: str, value: bytes) -> None:
    answer = client.request("GET", "/mj/task/1/fetch", headers={name: value})
    assert answer.status_code == 404
    assert answer.json()["code"] == 3
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert len(answer.headers["x-request-id"]) < 64


def test_a_request_keeps_its_id(client: Client) -> None:
    assert client.request("GET", "/health", headers={"x-request-id": "mine-1"}).headers.get_list("x-request-id") == ["mine-1"]


async def asked(host: str, port: int, path: str) -> str:
    """The status of one GET on a connection of its own, or what broke."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            assert length, head
            await reader.readexactly(int(length[1]))
            return head.split()[1].decode()
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        return type(error).__name__


@pytest.mark.asyncio
async def test_a_saturated_proxy_is_not_taken_for_dead(client: Client) -> None:
    address = urlsplit(client.base)
    assert address.hostname
    assert address.port
    said: Counter[str] = Counter()
    before = named(os.getsid(0), PROXY)
    end = time.monotonic() + SECONDS

    async def ask(host: str, port: int) -> None:
        while time.monotonic() < end:
            said[await asked(host, port, "/mj/image/none.png")] += 1

    await asyncio.gather(*(ask(address.hostname, address.port) for _ in range(CLIENTS)))
    assert said.keys() == {"404"}, said
    assert len(before) == 1
    assert named(os.getsid(0), PROXY) == before
