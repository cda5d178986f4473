"""`faceswap serve` as a newcomer runs it: a process of its own, an empty home, Ctrl-C."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks.service import free_port, serving
from serve_app.deployments import cluster
from tests.monitoring.prometheus import until
from tests.pictures import ASTRONAUT, HANKS
from tests.service.client import Client, send
from tests.service.hook import listening
from tests.service.processes import child_of, members, policies

FACESWAP = str(Path(sys.executable).parent / "faceswap")


def test_it_starts_swaps_and_leaves_nothing_behind(tmp_path: Path, builtin_weights: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with listening() as hook:
        environment = {
            "HOME": str(home),
            "FACESWAP_SECRET": "",
            "FACESWAP_NOTIFY_HOOK": hook.url,
            "FACESWAP_PUBLIC_URL": "https://pictures.example/faces",
            "http_proxy": "http://127.0.0.1:9",  # nobody is there: starting must not ask it
            "RAY_metrics_report_interval_ms": "1000",
        }
        metrics = free_port()
        with serving("--metrics-port", str(metrics), "--json-logs", environment=environment) as service:
            assert service.started_in_s < 60  # about 18 s on two idle cores: `make bench` measures it
            session = child_of(service.process.pid)
            assert members(session), "the service runs in a session of its own"
            assert not [line for line in members(session) if "log_monitor" in line], "nobody reads what it would collect"
            assert policies(session) == {os.SCHED_BATCH}, "what wakes interrupts no model"
            client = Client(service.base)
            task = client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes())
            end = hook.wait_for_end(task)[-1]
            assert end["imageUrl"].startswith("https://pictures.example/faces/mj/image/")
            assert "hook" not in str(end["properties"]), "the operator's hook is nobody else's business"
            until(lambda: "ray_faceswap_tasks_ended_total{" in send("GET", f"http://127.0.0.1:{metrics}/metrics").text)
            lines = [
                json.loads(line) for path in service.logs() if path.name.startswith("replica_") for line in path.read_text().splitlines()
            ]
            assert {line["deployment"] for line in lines if line.get("task") == task} == {"faceswap_Ingress", "faceswap_SwapPipeline"}
            assert service.stop() == 0
            said = service.log.read_text()
            assert "curl" in said
            assert "model family: builtin (no InsightFace models in" in said
            assert said.rstrip().endswith("stopped")
    assert members(session) == []
    assert list(home.rglob("*")) == []
    assert list(Path(tempfile.gettempdir()).glob(f"faceswap-{service.process.pid}-*")) == []


def test_an_occupied_port_is_named_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [FACESWAP, "serve", "--family", "fake", "--port", str(port), "--data", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "PORT=" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("applications: [{name: faceswap, route_prefix: /, import_path: 'serve_app.app:build', args: {familly: fake}}]", "familly"),
        ("applications: []", "applications"),
        ("", "valid dictionary"),
        ("applications: [", "wrong.yaml"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, text: str, named: str) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text(text)
    with pytest.raises(ValueError, match=named) as error:
        cluster.load_config(config)
    assert str(config) in str(error.value)


def test_a_wrong_config_is_said_in_words(tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text("applications: []")
    result = subprocess.run([FACESWAP, "serve", "--config", str(config)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert f"{config}: `applications` is empty" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_blank_secret_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "FACESWAP_SECRET": "  "}
    result = subprocess.run([FACESWAP, "serve"], capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert result.returncode == 1
    assert "is blank" in result.stderr
