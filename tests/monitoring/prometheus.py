"""Debian's Prometheus with config/monitoring, as a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from benchmarks.service import free_port
from tests.monitoring.queries import FOLDER

needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus")


class Prometheus:
    def __init__(self, base: str) -> None:
        self._base = base
        self._client = httpx2.Client(trust_env=False, verify=False)

    def get(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(f"{self._base}/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values. What is no number counts as no answer."""
        rows = [(row["metric"], float(row["value"][1])) for row in self.get("query", query=query)["result"]]
        return [(labels, value) for labels, value in rows if value == value]

    def number(self, query: str) -> float:
        """Of a query with one result; 0 without."""
        rows = self.ask(query)
        assert len(rows) < 2
        return rows[0][1] if rows else 0.0

    def ready(self) -> bool:
        try:
            return self._client.get(f"{self._base}/-/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def close(self) -> None:
        self._client.close()


@contextmanager
def watching(folder: Path, metrics_port: int) -> Iterator[Prometheus]:
    """It collects from this port, every second instead of every ten."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (scrape,) = config["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["127.0.0.1:9464"]}], "as docs/monitoring.md has it"
    scrape["static_configs"] = [{"targets": [f"127.0.0.1:{metrics_port}"]}]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(FOLDER / "alerts.yml", folder)
    port, log = free_port(), folder / "prometheus.log"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with log.open("w") as out:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=out, stderr=subprocess.STDOUT)
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        until(lambda: prometheus.ready() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield prometheus
    finally:
        prometheus.close()
        process.terminate()
        process.wait(30)


def until(fine: Callable[[], object], timeout_s: float = 45.0) -> None:
    """A client of Prometheus has to poll."""
    deadline = time.monotonic() + timeout_s
    while not fine():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
        time.sleep(0.2)
