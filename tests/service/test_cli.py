"""`faceswap serve` as a newcomer runs it: a process of its own, an empty home, Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.service import serving
from tests.pictures import ASTRONAUT, HANKS
from tests.service.client import Client

FACESWAP = str(Path(sys.executable).parent / "faceswap")


def members(session: int) -> list[str]:
    """Command lines of the processes of a session that are still alive."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            if int(sid) == session and state != "Z":
                alive.append((stat.parent / "cmdline").read_text())
        except OSError:
            continue
    return alive


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_it_starts_within_30_s_swaps_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "FACESWAP_SECRET": ""}
    with serving("--family", "fake", environment=environment) as service:
        assert service.started_in_s < 30
        session = child_of(service.process.pid)
        assert members(session), "the service runs in a session of its own"
        client = Client(service.base)
        running = [client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes()) for _ in range(4)]
        assert client.picture(client.finished(running[0]))
        assert service.stop() == 0
        said = service.log.read_text()
        assert "curl" in said
        assert said.rstrip().endswith("stopped")
    assert members(session) == []
    assert list(home.rglob("*")) == []
    assert list(Path(tempfile.gettempdir()).glob(f"faceswap-{service.process.pid}-*")) == []


def test_a_signal_to_the_whole_process_group_stops_it_as_cleanly(tmp_path: Path) -> None:
    with serving("--family", "fake", environment={"FACESWAP_SECRET": ""}) as service:
        session = child_of(service.process.pid)
        os.kill(service.process.pid, signal.SIGTERM)
        os.kill(session, signal.SIGTERM)
        assert service.process.wait(60) == 0
    assert members(session) == []


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


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text("applications: [{name: faceswap, route_prefix: /, import_path: 'serve_app.app:build', args: {familly: fake}}]")
    result = subprocess.run([FACESWAP, "serve", "--config", str(config)], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "familly" in result.stderr
    assert "Traceback" not in result.stderr
