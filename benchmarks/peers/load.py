"""Clients of one system: each sends its next request when it has the picture of the one before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import aiohttp
import numpy as np

from benchmarks.footprint import Process, processes
from benchmarks.peers.systems import Swap, System

TIMEOUT = aiohttp.ClientTimeout(total=600)
PAUSE_S = 0.2  # after an error, before the next request


@dataclass(frozen=True, slots=True)
class Load:
    """What some clients saw. seconds: from the first request to the last answer. cpu_s: of the system, by the names of its processes."""

    seconds: float
    latencies_s: list[float]
    errors: list[str]
    cpu_s: dict[str, float]
    swaps: list[Swap] = field(repr=False)

    @property
    def per_s(self) -> float:
        return len(self.latencies_s) / self.seconds

    def figures(self) -> dict[str, float | int]:
        p50, p95, p99 = np.percentile(self.latencies_s, (50, 95, 99)) if self.latencies_s else (float("nan"),) * 3
        return {
            "swaps": len(self.latencies_s),
            "errors": len(self.errors),
            "per_s": round(self.per_s, 3),
            "p50_s": round(float(p50), 3),
            "p95_s": round(float(p95), 3),
            "p99_s": round(float(p99), 3),
            "cpu_s": round(sum(self.cpu_s.values()) / max(1, len(self.latencies_s)), 4),
        }


async def put(system: System, bodies: Iterator[bytes], *, clients: int, seconds: float, least: int = 1) -> Load:
    """Clients that begin new swaps for so long; each makes at least `least`. What has begun is waited for."""
    latencies: list[float] = []
    errors: list[str] = []
    swaps: list[Swap] = []

    async def client(session: aiohttp.ClientSession) -> None:
        made = 0
        while made < least or time.perf_counter() < until:
            body = next(bodies)
            began = time.perf_counter()
            made += 1
            try:
                swaps.append(await system.swap(session, body))
            except (RuntimeError, aiohttp.ClientError, TimeoutError) as error:
                errors.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(PAUSE_S)
            else:
                latencies.append(time.perf_counter() - began)

    before = processes(system.root)
    start = time.perf_counter()
    until = start + seconds
    async with aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    taken = time.perf_counter() - start
    return Load(taken, latencies, errors, spent(before, processes(system.root)), swaps)


def spent(before: Sequence[Process], after: Sequence[Process]) -> dict[str, float]:
    """Seconds of CPU by name between two looks, the most first. Processes that ended in between are not counted."""
    had = {process.pid: process.cpu_s for process in before}
    found: dict[str, float] = {}
    for process in after:
        name = PurePath(process.name).name
        found[name] = found.get(name, 0.0) + process.cpu_s - had.get(process.pid, 0.0)
    return dict(sorted(found.items(), key=lambda one: -one[1]))
