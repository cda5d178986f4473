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
    """What some clients saw. seconds: from the first request to the last answer. cpu_s: of the system, by the names of its processes.

    pictures_s: by client, when it had each of its pictures, counted from the first request. full_until_s: the first moment
    at which a client had no swap under way.
    """

    seconds: float
    latencies_s: list[float]
    errors: list[str]
    cpu_s: dict[str, float]
    swaps: list[Swap] = field(repr=False)
    pictures_s: list[list[float]] = field(repr=False)
    full_until_s: float

    @property
    def per_s(self) -> float:
        """Pictures a second of a full load: those of all clients within a window, summed over one window a client, by the windows' seconds.

        A client's window is from its first picture to its last before `full_until_s`. So neither the start counts, when all sent at
        once and nobody had waited, nor the end, when fewer and fewer are left; and where a system answers many at once, no single
        window begins or ends among those. Where nobody had two pictures: all pictures by all seconds.
        """
        full = [[at for at in times if at <= self.full_until_s] for times in self.pictures_s]
        windows = [(times[0], times[-1]) for times in full if len(times) > 1]
        if not windows:
            return len(self.latencies_s) / self.seconds
        counted = sum(began < at <= ended for began, ended in windows for times in full for at in times)
        return counted / sum(ended - began for began, ended in windows)

    def figures(self) -> dict[str, float | int]:
        p50, p95, p99 = np.percentile(self.latencies_s, (50, 95, 99)) if self.latencies_s else (float("nan"),) * 3
        return {
            "swaps": len(self.latencies_s),
            "errors": len(self.errors),
            "seconds": round(self.seconds, 2),
            "per_s": round(self.per_s, 3),
            "p50_s": round(float(p50), 3),
            "p95_s": round(float(p95), 3),
            "p99_s": round(float(p99), 3),
            "cpu_s": round(sum(self.cpu_s.values()) / max(1, len(self.latencies_s)), 4),
        }


async def put(system: System, bodies: Iterator[bytes], *, clients: int, seconds: float, least: int = 1) -> Load:
    """Clients that begin new swaps for so long, and until each has ended at least `least`. What has begun is waited for."""
    latencies: list[float] = []
    errors: list[str] = []
    swaps: list[Swap] = []
    pictures: list[list[float]] = [[] for _ in range(clients)]
    ended = [0] * clients

    def since() -> float:
        return time.perf_counter() - start

    async def client(number: int, session: aiohttp.ClientSession) -> float:
        while since() < seconds or min(ended) < least:
            body = next(bodies)
            began = since()
            try:
                swaps.append(await system.swap(session, body))
            except (RuntimeError, aiohttp.ClientError, TimeoutError) as error:
                errors.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(PAUSE_S)
            else:
                pictures[number].append(since())
                latencies.append(pictures[number][-1] - began)
            ended[number] += 1
        return since()

    before = processes(system.root)
    start = time.perf_counter()
    async with aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0)) as session:
        stopped = await asyncio.gather(*(client(number, session) for number in range(clients)))
    return Load(since(), latencies, errors, spent(before, processes(system.root)), swaps, pictures, min(stopped))


def spent(before: Sequence[Process], after: Sequence[Process]) -> dict[str, float]:
    """Seconds of CPU by name between two looks, the most first. Processes that ended in between are not counted."""
    had = {process.pid: process.cpu_s for process in before}
    found: dict[str, float] = {}
    for process in after:
        name = PurePath(process.name).name
        found[name] = found.get(name, 0.0) + process.cpu_s - had.get(process.pid, 0.0)
    return dict(sorted(found.items(), key=lambda one: -one[1]))
