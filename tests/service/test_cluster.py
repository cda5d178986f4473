"""config/gpu.yaml on a Ray cluster started by hand, as docs/operations.md says: PostgreSQL, S3, a GPU that is counted but not there."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from benchmarks.service import free_port
from serve_app.deployments import environment
from serve_app.deployments.supervisor import sweep
from tests.pictures import ASTRONAUT, HANKS
from tests.postgres import Postgres
from tests.s3 import S3
from tests.service.client import Client, send

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
SECRET = "a secret of the cluster"
START_S = 120.0


@pytest.fixture
def node(postgres: Postgres, s3: S3) -> Iterator[dict[str, str]]:
    """One node of Ray with a dashboard; the environment that it was started with, and in it RAY_DASHBOARD_ADDRESS."""
    dashboard = free_port()
    variables = {
        **os.environ,
        **environment.EVERY_NODE,
        **environment.ONE_MACHINE,
        **s3.environment,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_DASHBOARD_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "FACESWAP_DATABASE_URL": (url := postgres.create()),
        "FACESWAP_BLOBS_URL": s3.url(),
        "FACESWAP_SECRET": SECRET,
    }
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        ports = [f"--port={free_port()}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}"]
        agent = [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
        counted = ["--num-cpus=8", "--num-gpus=1", "--object-store-memory=200000000"]
        start = [
            str(BIN / "ray"),
            "start",
            "--head",
            "--block",
            "--dashboard-host=127.0.0.1",
            f"--temp-dir={folder}",
            *ports,
            *agent,
            *counted,
        ]
        with (Path(folder) / "out").open("w") as out:
            ray = subprocess.Popen(start, env=variables, stdout=out, stderr=out, start_new_session=True)
        try:
            _listens(dashboard)
            yield variables
        finally:
            sweep(ray.pid)  # asked nicely, it takes half a minute
            ray.wait()
            postgres.drop(url)


def _listens(port: int) -> None:
    until = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert time.monotonic() < until, f"nothing listens on {port}"
        time.sleep(0.1)


def small(folder: Path) -> tuple[Path, int]:
    """config/gpu.yaml with models that need neither files nor a GPU, on a free port of loopback; all else is as shipped."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "config" / "gpu.yaml").read_text())
    config["http_options"] |= {"host": "127.0.0.1", "port": (port := free_port())}
    config["applications"][0]["args"] |= {"family": "fake", "provider": "cpu"}
    (file := folder / "gpu.yaml").write_text(yaml.safe_dump(config))
    return file, port


def test_the_shipped_config_serves_on_a_cluster_started_by_hand(node: dict[str, str], tmp_path: Path) -> None:
    file, port = small(tmp_path)
    subprocess.run([BIN / "serve", "deploy", file], env=node, capture_output=True, check=True)
    client, until = Client(f"http://127.0.0.1:{port}", SECRET), time.monotonic() + START_S
    while not _ready(client):
        assert time.monotonic() < until, "the service does not become ready"
        time.sleep(0.2)
    state = client.finished(client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes()))
    assert client.picture(state)
    # Ray would give up after that time, if nothing of ours stood before it.
    assert client.request("GET", "/health", headers={"X-Request-Timeout-Seconds": "0.000001"}).status_code == 200
    status = subprocess.run([BIN / "serve", "status"], env=node, capture_output=True, text=True, check=True)
    application = yaml.safe_load(status.stdout)["applications"]["faceswap"]
    assert application["status"] == "RUNNING"
    replicas = {name: one["replica_states"] for name, one in application["deployments"].items()}
    assert replicas == {
        "Ingress": {"RUNNING": 2},
        "SwapPipeline": {"RUNNING": 1},
        "FaceDetector": {"RUNNING": 1},
        "FaceSwapper": {"RUNNING": 1},
    }


def _ready(client: Client) -> bool:
    try:
        return send("GET", f"{client.base}/ready").status_code == 200
    except httpx2.TransportError:
        return False
