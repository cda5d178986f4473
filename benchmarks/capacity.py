"""What a machine carries, and what it takes: swaps a second, CPU and memory by process. sizing.py makes docs/capacity.md from it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks import bodies
from benchmarks.footprint import Process, processes
from benchmarks.load import SWAP, ends
from benchmarks.result import Chart, Result
from benchmarks.service import Service, serving
from benchmarks.simulated import LOCAL
from tests.standins import build

CLIENTS = 8
WARM_S = 5.0
SIDE = 512
MODELS = {"builtin": "its own", "insightface": "stand-ins of the real size"}


def run(seconds: float) -> Result:
    """Half of the time for each family of models."""
    with tempfile.TemporaryDirectory(prefix="faceswap-capacity-") as folder:
        rows = [_family(family, seconds / len(MODELS), Path(folder)) for family in MODELS]
    points = {row["family"]: list(row["cpu_s"].items()) for row in rows}
    return Result({"rows": rows}, table(rows), [Chart("CPU of a swap", "process", "seconds of a core", points, "bars")])


def _family(family: str, seconds: float, folder: Path) -> dict[str, Any]:
    pair = bodies.small(folder, SIDE) if family == "builtin" else bodies.planted(folder, SIDE)
    with _service(family, folder) as service:
        supervisor = service.process.pid
        tasks, before, after, begin, end = asyncio.run(_crowd(service.base, pair, seconds, supervisor))
        states = ends(service.base, tasks, 60)
    failed = [state["failReason"] for state in states.values() if state["status"] != "SUCCESS"]
    if failed or len(states) < len(tasks):
        raise RuntimeError(f"{len(failed)} of {len(tasks)} tasks failed, {len(tasks) - len(states)} are lost: {failed[:1]}")
    done = [state for state in states.values() if begin <= state["finishTime"] / 1e3 < end]
    waits = sorted(state["finishTime"] - state["submitTime"] for state in done)
    began, used = {one.pid: one.cpu_s for one in before}, Counter[str]()
    for one in after:
        used[one.name] += one.cpu_s - began.get(one.pid, 0.0)  # type: ignore[assignment]  # a Counter counts in floats as well
    return {
        "family": family,
        "models": MODELS[family],
        "side": SIDE,
        "cores": os.cpu_count(),
        "clients": CLIENTS,
        "swaps": len(done),
        "seconds": end - begin,
        "rate": len(done) / (end - begin),
        "p50_ms": waits[len(waits) // 2],
        "cpu_s": {name: round(cpu / len(done), 4) for name, cpu in used.most_common()},
        "memory": [
            {"name": one.name, "own_mb": round(one.own), "rss_mb": round(one.rss)} for one in sorted(after, key=lambda one: -one.own)
        ],
    }


@contextmanager
def _service(family: str, folder: Path) -> Iterator[Service]:
    config = yaml.safe_load(LOCAL.read_text())
    args = config["applications"][0]["args"] | {"family": family}
    if family == "insightface":
        build(folder / "models", "true_cost")
        args["models_dir"] = str(folder / "models")
    config["applications"][0]["args"] = args
    file = folder / f"{family}.yaml"
    file.write_text(yaml.safe_dump(config))
    with serving("--config", str(file), environment={"FACESWAP_SECRET": ""}) as service:
        yield service


async def _crowd(
    base: str, files: Sequence[str], seconds: float, supervisor: int
) -> tuple[list[str], list[Process], list[Process], float, float]:
    """Clients that wait for their picture before they ask for the next. Their tasks; the processes at two times, and these times."""
    tasks, over = list[str](), asyncio.Event()

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        body = Path(files[number % len(files)]).read_bytes()
        while not over.is_set():
            async with session.post(SWAP, data=body, headers={"Content-Type": "application/json", "Prefer": "wait=120"}) as answer:
                said = await answer.json()
            if said["code"] != 1:
                raise RuntimeError(f"a submit was answered with {said}")
            tasks.append(str(said["result"]))

    async def looked() -> tuple[list[Process], list[Process], float, float]:
        await asyncio.sleep(WARM_S)
        begin, before = time.time(), await asyncio.to_thread(processes, supervisor)
        await asyncio.sleep(seconds)
        end, after = time.time(), await asyncio.to_thread(processes, supervisor)
        over.set()
        return before, after, begin, end

    async with aiohttp.ClientSession(base, timeout=aiohttp.ClientTimeout(total=180)) as session:
        looks = asyncio.create_task(looked())
        await asyncio.gather(*(client(session, number) for number in range(CLIENTS)))
        return tasks, *(await looks)


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"{CLIENTS} clients that wait for their picture, two {SIDE} x {SIDE} pictures a task.",
        "",
        "| family | models | swaps/s | per core | p50 | CPU of a swap, all processes |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['family']} | {row['models']} | {row['rate']:.2f} | {row['rate'] / row['cores']:.2f} | {row['p50_ms']:.0f} ms"
            f" | {sum(row['cpu_s'].values()):.3f} s |"
        )
    return "\n".join(lines)
