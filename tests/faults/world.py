"""What is broken and mended: PostgreSQL, the picture store, and the service on them as `faceswap serve` starts it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import obstore
import yaml

from benchmarks.service import Service, free_port, serving
from tests.postgres import Postgres
from tests.s3 import S3
from tests.service.client import send
from tests.service.processes import child_of, kill_all, named

ROOT = Path(__file__).resolve().parent.parent.parent
PREFIX = "faults"  # of everything in the bucket
REPLICAS, SECONDS = 2, 0.25


class World:
    """Started by `start`, ended by `close`. All calls block."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="faults-")
        self._running = contextlib.ExitStack()
        self._port = free_port()
        self.database = Postgres(durable=True)
        self.pictures = S3()
        self.service: Service | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self.database.start()
        self.pictures.start()
        self.start_service()

    def start_service(self) -> None:
        """Returns when it is ready."""
        folder = Path(self._folder.name)
        config = folder / "serve.yaml"
        config.write_text(yaml.safe_dump(configuration()))
        environment = {
            "FACESWAP_SECRET": "",
            "FACESWAP_DATABASE_URL": self.database.url(),
            "FACESWAP_BLOBS_URL": self.pictures.url(PREFIX),
            **self.pictures.environment,
        }
        start = serving("--config", str(config), environment=environment, data=folder, port=self._port)
        self.service = self._running.enter_context(start)

    def kill_service(self) -> None:
        """SIGKILL for every process of it."""
        assert self.service is not None
        kill_all(self.service.process.pid)
        self._running.close()
        self.service = None

    def wait_until_ready(self) -> None:
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if send("GET", self.base + "/ready").status_code == 200:
                    return
            time.sleep(0.05)

    def processes(self, start: str) -> list[int]:
        """Ids of the service's processes whose command line begins so."""
        return [] if self.service is None else named(child_of(self.service.process.pid), start)

    async def results(self) -> list[str]:
        """Keys of the pictures that are stored."""
        found = await obstore.list(self.pictures.store(PREFIX), "results/").collect_async()
        return [one["path"] for one in found]

    def close(self) -> None:
        with self._folder, contextlib.closing(self.database), contextlib.closing(self.pictures), self._running:
            pass


def configuration(replicas: int = REPLICAS, seconds: float = SECONDS) -> dict[str, Any]:
    """config/local.yaml with `replicas` of each deployment, models that only take time, four calls a task, and short leases.

    seconds: of one batch.
    """
    config: dict[str, Any] = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    (application,) = config["applications"]
    application["args"] |= {"family": "fake", "fake": {"seconds": seconds}, "pipeline": {"lease_s": 10, "renew_s": 3}}
    for deployment in application["deployments"]:
        deployment["num_replicas"] = replicas
    return config
