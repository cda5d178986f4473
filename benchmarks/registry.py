"""Every benchmark by its name. One more is a function of seconds that gives a Result, and a line here."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from benchmarks.result import Result

Run = Callable[[float], Result]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """where: module and function, imported when it is run: what one needs is not needed by the others, and Ray reads its environment
    when it is imported. seconds: how long it measures unless told; starting and stopping come on top. alone: not among all of them.
    """

    where: str
    about: str
    seconds: float
    alone: bool = False

    def load(self) -> Run:
        return cast(Run, pkgutil.resolve_name(f"benchmarks.{self.where}"))


BENCHMARKS = {
    "latency": Benchmark("latency:run", "submit to SUCCESS with every stage's share, and tasks a second", 200),
    "batching": Benchmark("batching:run", "the slot-first batcher beside Ray's @serve.batch", 36),
    "stages": Benchmark("stages:run", "our code beside the insightface library's, stage by stage", 90),
    "stages-true-cost": Benchmark("stages:run_true_cost", "the same with models of the real size: 746 MB, and slow", 90, alone=True),
    "store": Benchmark("store:run", "the same calls with few and with many finished tasks", 30),
    "accelerator": Benchmark("accelerator:run", "how busy 1 to 8 simulated devices are kept, and what batching adds at light load", 150),
    "submit": Benchmark("submit:run", "acknowledgements of 400 KB pictures from half of capacity to eight times it", 200),
    "autoscale": Benchmark("autoscale:run", "devices over time as the load steps up and down, and with a backlog alone", 25),
    "soak": Benchmark("soak:run", "memory of every process under light load; growth is judged from ten minutes or so on", 60),
    "capacity": Benchmark("capacity:run", "swaps a second, CPU and memory by process; benchmarks.sizing makes docs/capacity.md of it", 60),
    "proxies": Benchmark("proxies:run", "submits and fetches a second with Ray's proxy, HAProxy and the throughput flags", 96, alone=True),
    "peers": Benchmark("peers.run:run", "this service beside FastAPI, LitServe and @serve.batch around the insightface library", 240),
    "peers-narrow": Benchmark("peers.run:run_narrow", "the same with an eighth of the models' channels", 60, alone=True),
    "overhead": Benchmark("peers.overhead:run", "CPU outside the models a swap, beside FastAPI around the insightface library", 60),
    "hooks": Benchmark("hooks:run", "what 1,000 dead hooks cost", 110),
}
