"""How soon there are more devices when the load steps up, and fewer when it steps down; also where tasks wait and nobody asks."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import bodies
from benchmarks.footprint import processes
from benchmarks.load import Load, Phase, Plan, ends, kinds
from benchmarks.result import Chart, Result
from benchmarks.simulated import LARGEST, SLOW, Simulated, simulated
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import open_database
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask
from tests.pictures import ASTRONAUT, head, jpeg, read

MOST = 4  # devices
SPARES = 2 * (MOST - 1)  # a process for every replica that will be wanted, of both deployments
DELAY_S = 10.0
# docs/decisions/0035; there the delay before there are fewer is minutes.
AUTOSCALING = {
    "min_replicas": 1,
    "max_replicas": MOST,
    "target_ongoing_requests": LARGEST,
    "upscaling_factor": 4,
    "metrics_interval_s": 0.5,
    "look_back_period_s": 2,
    "upscale_delay_s": 1,
    "downscale_delay_s": DELAY_S,
}
TRICKLE = 0.3  # tasks a second, which one device makes with ease
CALM_S = 8.0
BACKLOG = 3 * 2 * LARGEST * MOST
LONGEST_S = 120.0
LOOK_S = 0.1
IDLE = "IDLE"  # what Ray calls a process that waits
# What must hold.
LATEST_UP_S = 10.0
LATEST_DOWN_S = DELAY_S + 15.0


class Watch:
    """Replicas that are ready, looked at all the time. points: seconds since the epoch, and how many."""

    def __init__(self, world: Simulated) -> None:
        self._world, self._over = world, threading.Event()
        self.points: list[tuple[float, int]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def until(self, devices: int, timeout_s: float) -> float | None:
        """Since when there are so many; None when they did not come."""
        over = time.time() + timeout_s
        while time.time() < over:
            if self.points and self.points[-1][1] == devices:
                return self.points[-1][0]
            time.sleep(LOOK_S)
        return None

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            count = len(self._world.alive())
            if not self.points or self.points[-1][1] != count:
                self.points.append((time.time(), count))


def run(seconds: float) -> Result:
    """seconds: of the load after its step up."""
    scaled = {"autoscaling_config": AUTOSCALING, "ray_actor_options": {"num_cpus": 0.05}}
    # A pipeline has places for two batches of one device, so there have to be as many of the one as of the other.
    calls = {"max_ongoing_requests": 8 * LARGEST * MOST}
    options: dict[str, dict[str, Any]] = {"SwapPipeline": {**scaled, **calls}, "FaceDetector": calls, "FaceSwapper": scaled}
    settings = {"ingress": {"max_dispatched": 3 * LARGEST * MOST, "spare_processes": SPARES}}
    with (
        tempfile.TemporaryDirectory(prefix="faceswap-bodies-") as folder,
        simulated(SLOW, settings=settings, deployments=options) as world,
    ):
        watch = Watch(world)
        with watch.watching():
            stepped = _step(world, watch, seconds, Path(folder))
            silent = _silent(world, watch)
    start = watch.points[0][0]
    steps: list[tuple[float | str, float]] = [(at - start, count) for at, count in [*watch.points, (time.time(), watch.points[-1][1])]]
    figures = {"settings": AUTOSCALING, "most": MOST, "step": stepped, "silent": silent, "replicas": steps}
    chart = Chart("devices over time", "seconds", "replicas", {"ready": steps}, "steps", limit=MOST)
    return Result(figures, table(figures), [chart], missed(figures))


def _step(world: Simulated, watch: Watch, seconds: float, folder: Path) -> dict[str, Any]:
    """A trickle, then half as much again as all devices can make, then nothing."""
    small = bodies.small(folder)
    calm = Load(Plan([world.base], small, [Phase(CALM_S, TRICKLE)], seed=1), folder).answers()
    _wait_for_spares(world)
    before = len(world.alive())
    load = Load(Plan([world.base], small, [Phase(seconds, 1.5 * MOST * SLOW.rate())], seed=2), folder)
    full = watch.until(MOST, LONGEST_S)
    answers = load.answers()
    tasks = [answer.task for answer in (*calm, *answers) if answer.task]
    return {"before": before, "answers": kinds(answers), **_followed(world, watch, tasks, min(answer.at for answer in answers), full)}


def _silent(world: Simulated, watch: Watch) -> dict[str, Any]:
    """Tasks are written into the database by somebody else, as by an Ingress that died, and nobody asks for anything."""
    data = world.service.log.parent
    _wait_for_spares(world)
    before, begin = len(world.alive()), time.time()
    tasks = asyncio.run(_backlog(data))
    return {"before": before, **_followed(world, watch, tasks, begin, watch.until(MOST, LONGEST_S))}


def _wait_for_spares(world: Simulated) -> None:
    """Raises RuntimeError."""
    until = time.monotonic() + LONGEST_S
    while sum(process.name == IDLE for process in processes(world.service.process.pid)) < SPARES:
        if time.monotonic() > until:
            raise RuntimeError(f"there were no {SPARES} spare processes after {LONGEST_S:.0f} s")
        time.sleep(1)


def _followed(world: Simulated, watch: Watch, tasks: list[str], begin: float, full: float | None) -> dict[str, Any]:
    """begin: when there was more to do. full: since when there are all devices."""
    states = ends(world.base, tasks, LONGEST_S)
    last = max(state["finishTime"] or 0 for state in states.values()) / 1e3
    one = watch.until(1, LONGEST_S)
    return {
        "tasks": len(tasks),
        "lost": sum(states.get(task, {}).get("status") != "SUCCESS" for task in tasks),
        "up_s": None if full is None else full - begin,
        "down_s": None if one is None else one - last,
    }


async def _backlog(data: Path) -> list[str]:
    database, blobs = open_database(data / "tasks.db"), BlobStore(data / "blobs", make=False)
    store = TaskStore(database, blobs)
    write = partial(blobs.put_inputs, source=jpeg(head(2)), target=jpeg(read(ASTRONAUT)[20:276, 96:352]))
    try:
        return [(await store.submit(NewTask(None, None, None, None, "http://b"), write)).id for _ in range(BACKLOG)]
    finally:
        await database.close()


def missed(figures: dict[str, Any]) -> list[str]:
    found = []
    for name, what in (("step", "a load that steps up"), ("silent", "a backlog without requests")):
        row = figures[name]
        if row["before"] != 1:
            found.append(f"{what} found {row['before']} devices, not 1")
        if row["up_s"] is None or (name == "step" and row["up_s"] > LATEST_UP_S):
            found.append(f"{what} had {figures['most']} devices after {_shown(row['up_s'])}, not {LATEST_UP_S:g} s")
        if row["down_s"] is None or row["down_s"] > LATEST_DOWN_S:
            found.append(f"after {what} one device was left after {_shown(row['down_s'])}, not {LATEST_DOWN_S:g} s")
        if row["lost"]:
            found.append(f"{row['lost']} tasks of {what} did not succeed")
    return found


def table(figures: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} {value:g}" for name, value in figures["settings"].items())
    lines = [
        f"SwapPipeline and FaceSwapper, on simulated devices, with {settings}.",
        "",
        f"| | tasks | lost | 1 to {figures['most']} devices after | back to 1 after the last task |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, what in (("step", "load steps up to 1.5 times what all can make"), ("silent", "a backlog, no requests")):
        row = figures[name]
        lines.append(f"| {what} | {row['tasks']} | {row['lost']} | {_shown(row['up_s'])} | {_shown(row['down_s'])} |")
    return "\n".join([*lines, "", f"Up in {LATEST_UP_S:g} s with requests, back {DELAY_S:g} to {LATEST_DOWN_S:g} s after the last task."])


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"
