"""What HAProxy and Ray Serve's throughput flags do for requests: the same service behind each, one after the other."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import bodies
from benchmarks.load import SWAP, summary
from benchmarks.machine import cores_busy
from benchmarks.result import Chart, Result
from benchmarks.simulated import Cost, simulated

HA = {"RAY_SERVE_ENABLE_HA_PROXY": "1"}  # environment.py adds the flags, where nothing else is said
MODES: dict[str, dict[str, str]] = {
    "Ray's proxy": {},
    "throughput flags": {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
    "HAProxy": {**HA, "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"},
    "both": HA,
}
CLIENTS = 16
WARM_S = 2.0
NEVER = Cost(1e4, 0.0)  # nothing is finished while this runs: all there is to do is to answer

Ask = Callable[[aiohttp.ClientSession], Awaitable[None]]


def run(seconds: float) -> Result:
    with tempfile.TemporaryDirectory(prefix="faceswap-bodies-") as folder:
        pairs = {"submit 256 px": bodies.small(Path(folder))[0], "submit 400 KB": bodies.large(Path(folder))[0]}
        rows = {mode: _mode(environment, pairs, seconds / len(MODES)) for mode, environment in MODES.items()}
    points = {what: [(mode, row[what]["per_s"]) for mode, row in rows.items() if what in row] for what in [*pairs, "fetch"]}
    return Result({"clients": CLIENTS, "rows": rows}, table(rows), [Chart("requests a second", "", "1/s", points, "bars")])


def _mode(environment: dict[str, str], pairs: dict[str, str], seconds: float) -> dict[str, Any]:
    settings: dict[str, dict[str, Any]] = {
        "limits": {"max_unfinished": 100_000, "max_bodies_per_address": 128, "key_share": 1.0},
        "rates": {"submits_per_key": None, "submits_per_address": None},
    }
    try:
        with simulated(NEVER, settings=settings, environment=environment) as world:
            return asyncio.run(_measure(world.base, pairs, seconds / (len(pairs) + 1)))
    except (RuntimeError, aiohttp.ClientError, TimeoutError) as error:
        said = [line for line in str(error).splitlines() if line.strip()]
        return {"error": said[-1][:200] if said else type(error).__name__}


async def _measure(base: str, pairs: dict[str, str], seconds: float) -> dict[str, Any]:
    found, task = {}, ""
    async with aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(limit=0)) as session:
        for what, file in pairs.items():
            data = Path(file).read_bytes()

            async def submit(session: aiohttp.ClientSession, data: bytes = data) -> None:
                nonlocal task
                async with session.post(SWAP, data=data, headers={"Content-Type": "application/json"}) as answer:
                    said = await answer.json()
                if said["code"] != 1:
                    raise RuntimeError(f"a submit was answered with {said}")
                task = said["result"]

            found[what] = await _asked(session, submit, seconds)

        async def fetch(session: aiohttp.ClientSession) -> None:
            async with session.get(f"/mj/task/{task}/fetch") as answer:
                if (await answer.json())["id"] != task:
                    raise RuntimeError("a fetch was answered with something else")

        found["fetch"] = await _asked(session, fetch, seconds)
    return found


async def _asked(session: aiohttp.ClientSession, ask: Ask, seconds: float) -> dict[str, Any]:
    """Clients that ask again when they have the answer."""
    took = list[float]()
    begin = time.monotonic() + WARM_S
    cores: Callable[[], float] | None = None

    async def client() -> None:
        nonlocal cores
        while (start := time.monotonic()) < begin + seconds:
            await ask(session)
            if start >= begin:
                cores = cores or cores_busy()
                took.append(time.monotonic() - start)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return {"per_s": len(took) / (time.monotonic() - begin), **summary(took), "cores": cores() if cores else 0.0}


def table(rows: dict[str, dict[str, Any]]) -> str:
    names = list(dict.fromkeys(what for row in rows.values() for what in row if what != "error"))
    lines = [
        f"{CLIENTS} clients that ask again when they have their answer; one Ingress, nothing to swap, load on the same cores.",
        "",
        "| | " + " | ".join(f"{what}: /s | p50 | p99" for what in names) + " |",
        "|---|" + "---:|---:|---:|" * len(names),
    ]
    for mode, row in rows.items():
        if "error" in row:
            lines.append(f"| {mode} | {row['error']} |" + " |" * (3 * len(names) - 1))
            continue
        cells = [f"{row[what]['per_s']:.0f} | {row[what]['p50_ms']:.0f} ms | {row[what]['p99_ms']:.0f} ms" for what in names]
        lines.append(f"| {mode} | {' | '.join(cells)} |")
    return "\n".join(lines)
