"""The slot-first batcher beside Ray's `@serve.batch`: the same engine, deployment, load and machine, in one run.

The engine holds its one slot for 100 ms however large the batch, as a GPU nearly does; requests arrive every 20 ms, which
only batches of five and more can keep up with.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from ray import serve
from ray.serve import Deployment
from ray.serve.handle import DeploymentHandle

from benchmarks.result import Chart, Result
from serve_app.deployments import cluster
from serve_app.deployments.batcher import Batcher

RUN_S = 0.1
GAP_S = 0.02
MAX_BATCH = 8
REQUESTS_A_SECOND = 8  # of measuring: the slower of the two does ten


class Device:
    """An engine whose runs take RUN_S whatever the batch."""

    buckets: tuple[int, ...] = (MAX_BATCH,)
    slots = 1

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def warm_up(self) -> None: ...

    def info(self) -> dict[str, str]:
        return {}

    def pre(self, item: int) -> int:
        return item

    def run(self, batch: Sequence[int]) -> Sequence[int]:
        self.sizes.append(len(batch))
        time.sleep(RUN_S)  # the device is busy; no core is
        return batch

    def post(self, item: int, raw: int) -> int:
        return raw


class SlotFirst:
    def __init__(self) -> None:
        self.device = Device()
        self.batcher: Batcher[int, int] = Batcher(self.device, max_queued=1000)

    async def __call__(self, item: int) -> int:
        (result,) = await self.batcher([item])
        assert isinstance(result, int)
        return result

    async def batch_sizes(self) -> list[int]:
        return self.device.sizes


class ServeBatch:
    def __init__(self) -> None:
        self.device = Device()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.01)
    async def batched(self, items: list[int]) -> list[int]:
        return list(await asyncio.to_thread(self.device.run, items))

    async def __call__(self, item: int) -> int:
        return await self.batched(item)

    async def batch_sizes(self) -> list[int]:
        return self.device.sizes


@dataclass(frozen=True, slots=True)
class Outcome:
    per_second: float
    p50_ms: float
    mean_batch: float


async def load(handle: DeploymentHandle[Any], requests: int) -> Outcome:
    """Open loop: a request every GAP_S, whatever became of those before."""

    async def one() -> float:
        start = time.perf_counter()
        await handle.remote(1)
        return time.perf_counter() - start

    await one()  # the route and the replica are warm
    before = len(await handle.batch_sizes.remote())
    start = time.perf_counter()
    calls = []
    for number in range(requests):
        calls.append(asyncio.create_task(one()))
        await asyncio.sleep(max(0.0, start + (number + 1) * GAP_S - time.perf_counter()))
    seconds = await asyncio.gather(*calls)
    elapsed = time.perf_counter() - start
    sizes = (await handle.batch_sizes.remote())[before:]
    return Outcome(round(requests / elapsed, 1), round(statistics.median(seconds) * 1e3), round(statistics.mean(sizes), 2))


def compare(requests: int) -> dict[str, Outcome]:
    """Both in turn on the running cluster."""
    outcomes = {}
    for cls in (ServeBatch, SlotFirst):
        deployment = cast(Deployment, serve.deployment(cls)).options(max_ongoing_requests=requests + 1, ray_actor_options={"num_cpus": 0.1})
        handle = serve.run(deployment.bind(), name=cls.__name__, route_prefix=None)
        outcomes[cls.__name__] = asyncio.run(load(handle, requests))
        serve.delete(cls.__name__)
    return outcomes


def run(seconds: float) -> Result:
    with tempfile.TemporaryDirectory(prefix="faceswap-bench-") as folder, cluster.local_cluster(Path(folder)):
        outcomes = compare(requests=max(20, int(seconds * REQUESTS_A_SECOND)))
    chart = Chart("throughput", "batcher", "requests/s", {"batchers": [(name, one.per_second) for name, one in outcomes.items()]}, "bars")
    return Result({name: asdict(one) for name, one in outcomes.items()}, table(outcomes), [chart])


def table(outcomes: dict[str, Outcome]) -> str:
    rows = [f"| {name} | {o.per_second} | {o.p50_ms:.0f} | {o.mean_batch} |" for name, o in outcomes.items()]
    return "\n".join(["| batcher | requests/s | p50 ms | mean batch |", "|---|---|---|---|", *rows])
