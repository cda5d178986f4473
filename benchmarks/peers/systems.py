"""The systems that are compared: how each is started, asked for a swap, and asked what it has done."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import yaml

from benchmarks.peers.library import REPORT
from benchmarks.service import free_port, serving
from serve_app.deployments import environment
from serve_app.engines.choice import Precision

ROOT = Path(__file__).resolve().parent.parent.parent
READY_S, STOP_S = 180.0, 60.0
WAIT_S = 60  # as long as one request may wait for the end of its task
FRESH_S = 11.0  # /health asks the models every ten seconds

Box = tuple[float, ...]
DONE = ("detect", "identify", "swap")  # pictures looked at, faces described, faces made


@dataclass(frozen=True, slots=True)
class Swap:
    """One answer: the result's file, and the boxes of the two faces that were used."""

    data: bytes = field(repr=False)
    source: Box
    target: Box


class System(Protocol):
    """One that runs. root: the process that all its others descend from. remembers: whether it knows a source file that it has seen."""

    root: int
    remembers: bool

    async def swap(self, session: aiohttp.ClientSession, body: bytes) -> Swap:
        """Raises RuntimeError, aiohttp.ClientError or TimeoutError."""

    async def done(self) -> dict[str, int]:
        """What its models have done since it was started, by DONE."""


class Peer:
    """A server of one route around `library.Library`."""

    remembers = False

    def __init__(self, root: int, base: str) -> None:
        self.root = root
        self._base = base
        self._done: dict[int, dict[str, int]] = {}

    async def swap(self, session: aiohttp.ClientSession, body: bytes) -> Swap:
        async with session.post(f"{self._base}/swap", data=io.BytesIO(body), headers=JSON) as answer:
            data = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {data[:200]!r}")
            report = json.loads(answer.headers[REPORT])
        seen = self._done.setdefault(report["process"], dict.fromkeys(DONE, 0))
        for name, number in report["done"].items():  # answers may overtake each other
            seen[name] = max(seen[name], number)
        return Swap(data, tuple(report["source"]), tuple(report["target"]))

    async def done(self) -> dict[str, int]:
        return {name: sum(each[name] for each in self._done.values()) for name in DONE}


class Ours:
    """This service, over its contract: a submit that waits for the end of its task, a fetch while that is not there yet, the picture."""

    remembers = True

    def __init__(self, root: int, base: str) -> None:
        self.root = root
        self._base = base

    async def swap(self, session: aiohttp.ClientSession, body: bytes) -> Swap:
        headers = {**JSON, "Prefer": f"wait={WAIT_S}"}
        async with session.post(f"{self._base}/mj/insight-face/swap", data=io.BytesIO(body), headers=headers) as answer:
            said = await answer.json()
        if said.get("code") != 1:
            raise RuntimeError(str(said))
        state: dict[str, Any] = said["task"]
        while state["status"] not in ("SUCCESS", "FAILURE"):
            await asyncio.sleep(0.5)
            async with session.get(f"{self._base}/mj/task/{said['result']}/fetch") as answer:
                state = await answer.json()
        if state["status"] != "SUCCESS":
            raise RuntimeError(str(state["failReason"]))
        async with session.get(state["imageUrl"]) as answer:
            data = await answer.read()
        faces = state["properties"]["faces"]
        return Swap(data, tuple(faces["source"]["box"]), tuple(faces["target"]["box"]))

    async def done(self) -> dict[str, int]:
        await asyncio.sleep(FRESH_S)
        async with aiohttp.ClientSession() as session, session.get(f"{self._base}/health") as answer:
            engines = (await answer.json())["engines"]
        return {name: int(engines[name]["items"]) for name in DONE}


JSON = {"Content-Type": "application/json"}
PEERS = {
    "fastapi": "FastAPI + insightface",
    "litserve": "LitServe, batches",
    "serve": "@serve.batch",
}


@contextlib.contextmanager
def peer(name: str, models: Path) -> Iterator[Peer]:
    """One of PEERS, from ready until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", f"benchmarks.peers.on_{name}", str(models), str(port)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    theirs = {name: value for name, value in os.environ.items() if name not in environment.DEFAULTS}  # what is set for us is not for them
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env={**theirs, "PYTHONPATH": path}, start_new_session=True
        )
        try:
            base = f"http://127.0.0.1:{port}"
            if not _ready(process, f"{base}/health"):
                log.seek(0)
                raise RuntimeError(f"{PEERS[name]} did not start:\n{log.read()[-3000:]}")
            yield Peer(process.pid, base)
        finally:
            _stop(process)


# What docs/operations.md says to set where cores are the bound: two faces at a time in bf16, and enough dispatched to fill them.
FOR_THROUGHPUT: dict[Precision, dict[str, Any]] = {"exact": {}, "fast": {"swapper": {"buckets": [1, 2]}, "ingress": {"max_dispatched": 16}}}


@contextlib.contextmanager
def ours(models: Path, precision: Precision, settings: Mapping[str, Any] | None = None, *, haproxy: bool = False) -> Iterator[Ours]:
    """This service as `make serve` runs it, with these models. settings: put over those of config/local.yaml. haproxy: in place of Ray's
    proxy."""
    config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    args = config["applications"][0]["args"]
    args |= {"family": "insightface", "models_dir": str(models), "precision": precision, **(settings or {})}
    with tempfile.TemporaryDirectory(prefix="faceswap-peers-") as folder:
        path = Path(folder) / "serve.yaml"
        path.write_text(yaml.safe_dump(config))
        with serving("--config", str(path), *(["--haproxy"] if haproxy else []), environment={"FACESWAP_SECRET": ""}) as service:
            yield Ours(service.process.pid, service.base)


def _ready(process: subprocess.Popen[bytes], url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), direct.open(url, timeout=5) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does: the whole group is asked, and made to after a while."""
    for what, patience in ((signal.SIGINT, STOP_S), (signal.SIGKILL, STOP_S)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, what)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                return
