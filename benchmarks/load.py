"""Open-loop load from a process of its own: submits leave at times drawn beforehand, whatever became of those before.

A client that waits for an answer before it asks again asks less while the service is slow, and leaves out what would have been slowest
(coordinated omission). Here every latency counts from when the submit was meant to leave, also where the client itself is late.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from hdrh.histogram import HdrHistogram

SWAP = "/mj/insight-face/swap"
TIMEOUT_S = 120.0
HEAD_START_S = 0.3
LIST_AT_A_TIME = 200
POLL_S = 0.5
ENDS = ("SUCCESS", "FAILURE")


@dataclass(frozen=True, slots=True)
class Phase:
    """So many submits a second for so long."""

    seconds: float
    rate: float


@dataclass(frozen=True, slots=True)
class Answer:
    """at: when the submit was meant to leave, seconds since the epoch. seconds: from then to the whole answer. late: from then to when
    it really left. kind: `code 1` and so on, the HTTP status where it was not 200, or the error. to: which of the services.
    """

    at: float
    seconds: float
    late: float
    kind: str
    task: str | None
    to: int


@dataclass(frozen=True, slots=True)
class Plan:
    """bases: of services, which take turns. bodies: files, likewise."""

    bases: Sequence[str]
    bodies: Sequence[str]
    phases: Sequence[Phase]
    seed: int = 0


def arrivals(phases: Iterable[Phase], seed: int) -> list[float]:
    """Seconds from the start at which submits leave: as chance has it, as those of many clients that know nothing of each other."""
    chance, times, start = random.Random(seed), list[float](), 0.0
    for phase in phases:
        at = start + chance.expovariate(phase.rate)
        while at < start + phase.seconds:
            times.append(at)
            at += chance.expovariate(phase.rate)
        start += phase.seconds
    return times


class Load:
    """A load that runs beside us, from its construction on."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._out = folder / f"load-{time.monotonic_ns()}.json"
        self._seconds = sum(phase.seconds for phase in plan.phases)
        given = self._out.with_suffix(".plan")
        given.write_text(json.dumps(asdict(plan)))
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.load", str(given), str(self._out)])

    def answers(self) -> list[Answer]:
        """All of them, when the last has come."""
        try:
            if self._process.wait(self._seconds + TIMEOUT_S + 60):
                raise RuntimeError(f"the load ended with {self._process.returncode}")
        finally:
            self._process.kill()
        return [Answer(**answer) for answer in json.loads(self._out.read_text())]

    def stop(self) -> list[Answer]:
        """No more submits; the answers to those that have left."""
        self._process.send_signal(signal.SIGINT)
        return self.answers()


def histogram(seconds: Iterable[float]) -> HdrHistogram:
    """Of latencies from 1 ms to 10 minutes, in steps of 10 microseconds, to three digits."""
    recorded = HdrHistogram(1, 60_000_000, 3)
    for one in seconds:
        recorded.record_value(max(1, round(one * 1e5)))
    return recorded


def summary(seconds: Iterable[float]) -> dict[str, Any]:
    """hdr: the whole histogram, in steps of 10 microseconds, encoded as HdrHistogram does."""
    recorded = histogram(seconds)
    points = {f"p{point}_ms": round(recorded.get_value_at_percentile(point) / 100, 1) for point in (50, 95, 99)}
    return {
        "count": recorded.get_total_count(),
        **points,
        "max_ms": round(recorded.get_max_value() / 100, 1),
        "hdr": recorded.encode().decode(),
    }


def kinds(answers: Iterable[Answer]) -> dict[str, int]:
    return dict(sorted(Counter(answer.kind for answer in answers).items()))


def ends(base: str, tasks: Sequence[str], timeout_s: float) -> dict[str, dict[str, Any]]:
    """The tasks as the service shows them once all have ended; as they are when the time is up. A task that it does not know is missing."""
    return asyncio.run(_ends(base, tasks, timeout_s))


async def _ends(base: str, tasks: Sequence[str], timeout_s: float) -> dict[str, dict[str, Any]]:
    ended, other, until = dict[str, dict[str, Any]](), dict[str, dict[str, Any]](), time.monotonic() + timeout_s
    async with aiohttp.ClientSession(base) as session:
        while (left := [task for task in tasks if task not in ended]) and time.monotonic() < until:
            other = {}
            for at in range(0, len(left), LIST_AT_A_TIME):
                async with session.post("/mj/task/list-by-condition", json={"ids": left[at : at + LIST_AT_A_TIME]}) as answer:
                    for state in await answer.json():
                        (ended if state["status"] in ENDS else other)[state["id"]] = state
            if other:
                await asyncio.sleep(POLL_S)
            elif len(ended) < len(tasks):
                break  # the rest is not known
    return {**other, **ended}


async def send(plan: Plan) -> list[Answer]:
    bodies = [Path(body).read_bytes() for body in plan.bodies]
    times = arrivals(plan.phases, plan.seed)
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session, asyncio.TaskGroup() as group:
        start, epoch = time.monotonic() + HEAD_START_S, time.time() + HEAD_START_S
        sent = []
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
        for number, at in enumerate(times):
            if await _set_within(stop, start + at - time.monotonic()):
                break
            to = number % len(plan.bases)
            answer = _submit(session, plan.bases[to], bodies[number % len(bodies)], start + at, epoch + at, to)
            sent.append(group.create_task(answer))
    return [answer.result() for answer in sent]


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    if seconds > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
    return event.is_set()


async def _submit(session: aiohttp.ClientSession, base: str, body: bytes, meant: float, at: float, to: int) -> Answer:
    late, task = time.monotonic() - meant, None
    try:
        async with session.post(base + SWAP, data=body, headers={"Content-Type": "application/json"}) as response:
            said = await response.read()
            kind = str(response.status)
            if response.status == 200:
                answer = json.loads(said)
                kind, task = f"code {answer['code']}", answer.get("result") if answer["code"] == 1 else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        kind = type(error).__name__
    return Answer(at, time.monotonic() - meant, late, kind, None if task is None else str(task), to)


def main(plan: Path, out: Path) -> None:
    given = json.loads(plan.read_text())
    answers = asyncio.run(send(Plan(given["bases"], given["bodies"], [Phase(**phase) for phase in given["phases"]], given["seed"])))
    out.write_text(json.dumps([asdict(answer) for answer in answers]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
