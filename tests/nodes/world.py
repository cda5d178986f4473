"""A Ray cluster of a head, which runs no replicas, and workers, each on a machine of its own; PostgreSQL and S3 on another one."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import obstore
import yaml

from serve_app.deployments import environment
from tests.faults.world import PREFIX, REPLICAS, configuration
from tests.nodes.network import HOST, Machine
from tests.postgres import Postgres
from tests.s3 import S3
from tests.service.client import send
from tests.service.processes import replica

DEPLOYMENTS = ("Ingress", "SwapPipeline", "FaceDetector", "FaceSwapper")
SECRET = "a secret of the nodes"
_RAY = Path(sys.executable).parent / "ray"
_GCS, _HTTP = 6379, 8000
_START_S = 120.0


class World:
    """Started by `start`, ended with its namespaces. All calls block. As many workers as there are replicas."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nodes-"))
        self.database, self.pictures = Postgres(durable=True, host=HOST), S3(host=HOST)
        self.head, *self.workers = [Machine(n, self.folder / "ray", self.folder / f"{n}") for n in range(REPLICAS + 1)]
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._configuration = _spread(configuration())
        self._token = secrets.token_hex(32)

    @property
    def machines(self) -> list[Machine]:
        return [self.head, *self.workers]

    @staticmethod
    def base(machine: Machine) -> str:
        """Of the proxy there."""
        return f"http://{machine.address}:{_HTTP}"

    def start(self) -> None:
        """Returns when every deployment has a replica on every worker, and every proxy answers."""
        self.database.start()
        self.pictures.start()
        for machine in self.machines:
            self.start_node(machine)
        file = self.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(self._configuration))
        command = [sys.executable, "-m", "tests.nodes.deploy", f"{self.head.address}:{_GCS}", str(file)]
        driver = self.head.start(command, self._environment(), self.folder / "driver.log")
        if driver.wait(_START_S):
            raise RuntimeError((self.folder / "driver.log").read_text())
        self.wait_for(self.machines)

    def start_node(self, machine: Machine) -> None:
        """Its raylet; returns at once for a worker."""
        where = ["--head", f"--port={_GCS}", "--include-dashboard=false", "--num-cpus=0"]
        if machine is not self.head:
            where = [f"--address={self.head.address}:{_GCS}", "--num-cpus=4"]
        common = [f"--node-ip-address={machine.address}", "--object-store-memory=200000000", "--disable-usage-stats", "--block"]
        folder = [f"--temp-dir={self.folder / 'ray'}"] if machine is self.head else []
        log = self.folder / f"{machine.name}.log"
        self._nodes[machine.name] = machine.start([str(_RAY), "start", *where, *common, *folder], self._environment(), log)
        if machine is self.head:
            self._wait(lambda: b"Ray runtime started" in log.read_bytes(), f"the head did not start: {log}")

    def kill(self, machine: Machine) -> None:
        machine.kill()
        self._nodes.pop(machine.name).wait()

    def wait_for(self, machines: list[Machine]) -> None:
        """Replicas on all of them but the head, and proxies that answer."""
        for machine in machines:
            if machine is not self.head:
                self._wait(lambda machine=machine: all(self.replicas(machine).values()), f"{machine.name} has no replicas")
            self._wait(lambda machine=machine: self._ready(machine), f"the proxy of {machine.name} does not answer")

    def replicas(self, machine: Machine) -> dict[str, int]:
        return {name: len(machine.processes(replica(name))) for name in DEPLOYMENTS}

    async def results(self) -> list[str]:
        """Keys of the pictures that are stored."""
        found = await obstore.list(self.pictures.store(PREFIX), "results/").collect_async()
        return [one["path"] for one in found]

    def logs(self) -> str:
        """The ends of what the nodes said."""
        return "\n".join(f"-- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in sorted(self.folder.glob("*.log")))

    def close(self) -> None:
        for machine in self.machines:
            machine.kill()
        self.database.close()
        self.pictures.close()
        shutil.rmtree(self.folder)

    def _ready(self, machine: Machine) -> bool:
        with contextlib.suppress(httpx2.HTTPError):
            return send("GET", self.base(machine) + "/ready", timeout=5).status_code == 200
        return False

    def _wait(self, said: Any, what: str) -> None:
        until = time.monotonic() + _START_S
        while not said():
            if time.monotonic() > until:
                raise TimeoutError(f"{what}\n{self.logs()}")
            time.sleep(0.1)

    def _environment(self) -> dict[str, str]:
        """Of every node, as an operator gives it."""
        return {
            **environment.EVERY_NODE,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
            "RAY_TMPDIR": str(self.folder / "ray"),
            "FACESWAP_SECRET": SECRET,
            "FACESWAP_DATABASE_URL": self.database.url(),
            "FACESWAP_BLOBS_URL": self.pictures.url(PREFIX),
            **self.pictures.environment,
        }


def _spread(config: dict[str, Any]) -> dict[str, Any]:
    config["proxy_location"] = "EveryNode"
    config["http_options"] |= {"host": "0.0.0.0", "port": _HTTP}
    for deployment in config["applications"][0]["deployments"]:
        deployment["max_replicas_per_node"] = 1
    return config
