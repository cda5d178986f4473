"""How long a swap takes and how many tasks a second the graph carries, over HTTP, on this machine.

Latency: the built-in models, warm, one 512 x 512 pair after another; submit to SUCCESS as a polling client sees it, and
every stage's share. Saturation: the same pairs, as many at a time as the service takes; and the fake engine, which costs
nothing, so that what is left is ours: HTTP, base64, database, hand-over between deployments, decode, paste, encode.
Sources are files that the service has not seen before, unless it is said that they are repeated.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import cv2
import numpy as np

from benchmarks.peers.scenes import told
from benchmarks.result import Chart, Result
from benchmarks.service import serving
from benchmarks.timing import rounds
from serve_app.vision.face import Pixels
from tests.pictures import ASTRONAUT, data_url, head, jpeg, read

# What must hold on two cores.
SLOWEST_P50_MS = 250.0
FEWEST_SWAPS_PER_S = 8.0
FEWEST_TASKS_PER_S = 20.0
LATEST_READY_S = 30.0

SIDE = 512
POLL_S = 0.01


@dataclass(frozen=True)
class Latency:
    submit_to_success_ms: list[float]
    acknowledged_ms: list[float]
    stages_ms: dict[str, float]

    @property
    def p50(self) -> float:
        return statistics.median(self.submit_to_success_ms)


class Bodies:
    """Submits with two 512 x 512 JPEGs, each with one face of about 230 px. repeated: their source is always the same file."""

    def __init__(self, *, repeated: bool) -> None:
        self._source, target = jpeg(enlarged(head(4))), jpeg(enlarged(read(ASTRONAUT)[20:276, 96:352]))
        self._target = data_url(target)
        self._repeated = repeated
        self._numbers = itertools.count()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        number = next(self._numbers)
        source = self._source if self._repeated else told(self._source, f"source {number}")
        return json.dumps({"sourceBase64": data_url(source), "targetBase64": self._target}).encode()


def enlarged(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


async def submit(session: aiohttp.ClientSession, base: str, data: bytes) -> str:
    async with session.post(f"{base}/mj/insight-face/swap", data=data, headers={"Content-Type": "application/json"}) as answer:
        said = await answer.json()
    assert said["code"] == 1, said
    return str(said["result"])


async def finished(session: aiohttp.ClientSession, base: str, task: str) -> dict[str, Any]:
    while True:
        async with session.get(f"{base}/mj/task/{task}/fetch") as answer:
            state: dict[str, Any] = await answer.json()
        if state["status"] in ("SUCCESS", "FAILURE"):
            assert state["status"] == "SUCCESS", state
            return state
        await asyncio.sleep(POLL_S)


async def one_after_another(base: str, count: int) -> Latency:
    bodies, total, acknowledged, stages = Bodies(repeated=False), [], [], []
    async with aiohttp.ClientSession() as session:
        for number in range(count + 5):
            data = next(bodies)
            start = time.perf_counter()
            task = await submit(session, base, data)
            answered = time.perf_counter()
            state = await finished(session, base, task)
            if number >= 5:  # warm
                total.append((time.perf_counter() - start) * 1e3)
                acknowledged.append((answered - start) * 1e3)
                stages.append(state["properties"]["stages"])
    names = list(dict.fromkeys(name for stage in stages for name in stage))
    return Latency(total, acknowledged, {name: round(statistics.median(s.get(name, 0.0) for s in stages), 1) for name in names})


async def saturated(base: str, count: int, clients: int, *, repeated: bool = False) -> float:
    """Tasks a second from the first submit to the last SUCCESS, `clients` submitting without waiting for results."""
    bodies = Bodies(repeated=repeated)
    waiting = iter(list(itertools.islice(bodies, count)))
    ids: list[str] = []

    async def submitter(session: aiohttp.ClientSession) -> None:
        for data in waiting:
            ids.append(await submit(session, base, data))

    async with aiohttp.ClientSession() as session:
        for data in itertools.islice(bodies, 8):  # warm
            await finished(session, base, await submit(session, base, data))
        start = time.perf_counter()
        await asyncio.gather(*(submitter(session) for _ in range(clients)))
        while True:
            async with session.post(f"{base}/mj/task/list-by-condition", json={"ids": ids}) as answer:
                states = await answer.json()
            done = [state for state in states if state["status"] in ("SUCCESS", "FAILURE")]
            if len(done) == count:
                assert all(state["status"] == "SUCCESS" for state in done)
                return count / (time.perf_counter() - start)
            await asyncio.sleep(0.2)


def run(seconds: float) -> Result:
    """Medians of as many runs as there is time for."""
    runs = [once() for _ in rounds(seconds)]
    median = {key: statistics.median(run[key] for run in runs) for key in runs[0] if not key.startswith("stages")}
    stages = {name: statistics.median(run["stages_p50_ms"][name] for run in runs) for name in runs[0]["stages_p50_ms"]}
    figures = {"runs": runs, "median": median, "stages_p50_ms": stages}
    chart = Chart("a swap, stage by stage", "stage", "p50, ms", {"stages": list(stages.items())}, "bars")
    return Result(figures, table(median, stages), [chart], missed(median))


def once(*, swaps: int = 40, tasks: int = 300) -> dict[str, Any]:
    """Both, each on a service of its own."""
    with serving("--family", "builtin") as service:
        ready_s = service.started_in_s
        latency = asyncio.run(one_after_another(service.base, swaps))
        each, same = (asyncio.run(saturated(service.base, 3 * swaps, clients=8, repeated=repeated)) for repeated in (False, True))
    with serving("--family", "fake") as service:
        rate = asyncio.run(saturated(service.base, tasks, clients=8))
    return {
        "swaps": swaps,
        "ready_s": round(ready_s, 1),
        "p50_ms": round(latency.p50, 1),
        "p95_ms": round(statistics.quantiles(latency.submit_to_success_ms, n=20)[-1], 1),
        "acknowledged_p50_ms": round(statistics.median(latency.acknowledged_ms), 1),
        "stages_p50_ms": latency.stages_ms,
        "swaps_per_s": round(each, 2),
        "repeated_swaps_per_s": round(same, 2),
        "fake_tasks": tasks,
        "fake_tasks_per_s": round(rate, 1),
    }


def table(median: dict[str, Any], stages: dict[str, float]) -> str:
    """Markdown of the medians, with the share of each stage of a swap."""
    total = median["p50_ms"]
    rest = total - sum(stages.values())
    shares = [*stages.items(), ("submit, callbacks, polling", round(rest, 1))]
    rows = [f"| {name} | {ms} | {100 * ms / total:.0f} % |" for name, ms in shares]
    return "\n".join(
        [
            f"Submit to SUCCESS, built-in models, one 512 x 512 pair after another: **p50 {total} ms**, p95 {median['p95_ms']} ms;"
            f" acknowledged after {median['acknowledged_p50_ms']} ms.",
            "",
            "| stage | p50 ms | share |",
            "|---|---|---|",
            *rows,
            "",
            f"Saturated, built-in models: **{median['swaps_per_s']} swaps/s**, {median['repeated_swaps_per_s']} with one source for all.",
            "",
            f"Ready {median['ready_s']} s after `faceswap serve`."
            f" Saturated, fake engine, same pair: **{median['fake_tasks_per_s']} tasks/s**.",
        ]
    )


def missed(median: dict[str, Any]) -> list[str]:
    """What must hold and does not, in words."""
    misses = {
        f"a swap takes {median['p50_ms']} ms, not {SLOWEST_P50_MS}": median["p50_ms"] > SLOWEST_P50_MS,
        f"{median['swaps_per_s']} swaps/s with the built-in models, not {FEWEST_SWAPS_PER_S}": median["swaps_per_s"] < FEWEST_SWAPS_PER_S,
        f"{median['fake_tasks_per_s']} tasks/s, not {FEWEST_TASKS_PER_S}": median["fake_tasks_per_s"] < FEWEST_TASKS_PER_S,
        f"ready after {median['ready_s']} s, not {LATEST_READY_S}": median["ready_s"] > LATEST_READY_S,
    }
    return [words for words, missing in misses.items() if missing]
