"""How busy the service keeps accelerators, and what batching costs where there is nothing to batch. The accelerators are simulated ones."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import bodies
from benchmarks.load import Answer, Load, Phase, Plan, ends, kinds
from benchmarks.machine import cores_busy
from benchmarks.result import Chart, Result
from benchmarks.simulated import LARGEST, PUBLISHED, SLOW, Simulated, simulated, use

DEVICES = (1, 2, 4, 8)
SIDE = 256
# What must hold.
LEAST_BUSY = 0.95
LEAST_TIMES = 7.2  # of eight devices, beside one
MOST_ADDED_MS = 6.0

RAMP_S = 6.0
FULL_S = 20.0  # until every device has made a full batch
OVERLOAD = 1.1
LIGHT = 2.0  # tasks a second of a service whose device makes 400


def run(seconds: float) -> Result:
    """A fifth of the time for each number of devices and for light load."""
    with tempfile.TemporaryDirectory(prefix="faceswap-bodies-") as folder:
        rows = [saturated(devices, seconds / 5, Path(folder)) for devices in DEVICES]
        calm = light(seconds / 5, Path(folder))
    times = rows[-1]["rate"] / rows[0]["rate"]
    figures = {"cost": {"published": asdict(PUBLISHED), "used": asdict(SLOW)}, "saturated": rows, "times": times, "light": calm}
    swaps: list[tuple[float | str, float]] = [(row["devices"], row["rate"]) for row in rows]
    ideal = [(devices, devices * SLOW.rate()) for devices in DEVICES]
    busy = {"busy": [(row["devices"], row["busy"]) for row in rows]}
    charts = [
        Chart("swaps a second", "devices", "swaps/s", {"measured": swaps, "always full batches": ideal}),
        Chart("device busy", "devices", "share of the time", busy, "bars", LEAST_BUSY),
    ]
    return Result(figures, table(figures), charts, missed(figures))


def saturated(devices: int, seconds: float, folder: Path) -> dict[str, Any]:
    """More tasks than so many devices can make, after all of them have made a full batch."""
    capacity = devices * SLOW.rate()
    places = 2 * LARGEST * devices
    with simulated(SLOW, devices=devices) as world:
        phases = [Phase(RAMP_S, capacity + 1.2 * places / RAMP_S), Phase(FULL_S + seconds, OVERLOAD * capacity)]
        load = Load(Plan([world.base], bodies.small(folder, SIDE), phases), folder)
        _wait_for_full_batches(world, devices)
        begin, cores = time.time(), cores_busy()
        time.sleep(seconds)
        end, used = time.time(), cores()
        batches = world.batches_until(end)
        answers = load.stop()
    runs = [
        [batch.device, round(batch.begin - begin, 3), round(batch.end - begin, 3), batch.items] for batch in batches if batch.end > begin
    ]
    found = use(batches, begin, end, devices)
    return {"devices": devices, "seconds": end - begin, **asdict(found), "cores": used, "answers": kinds(answers), "runs": runs}


def light(seconds: float, folder: Path) -> dict[str, Any]:
    """The same load on a service that batches and on one that does not, side by side, with the device as it was published."""
    buckets = {"batches": [1, 2, 4, LARGEST], "alone": [1]}
    with (
        simulated(PUBLISHED, fake={"buckets": buckets["batches"]}) as with_batches,
        simulated(PUBLISHED, fake={"buckets": buckets["alone"]}) as without,
    ):
        worlds = {"batches": with_batches, "alone": without}
        plan = Plan([world.base for world in worlds.values()], bodies.small(folder, SIDE), [Phase(seconds, LIGHT * len(worlds))])
        answers = Load(plan, folder).answers()
        sides = {name: _swaps(world, [one for one in answers if one.to == number]) for number, (name, world) in enumerate(worlds.items())}
    # Of the calls, for nothing else differs: what a busy machine does to the rest of a task is not batching's.
    return {**sides, "added_ms": sides["batches"]["calls_p50_ms"] - sides["alone"]["calls_p50_ms"]}


def _swaps(world: Simulated, answers: Sequence[Answer]) -> dict[str, Any]:
    """Milliseconds from when a submit was meant to leave to the end of its task, and in the calls of models, all of which batch."""
    meant = {answer.task: answer.at for answer in answers if answer.task}
    states = ends(world.base, list(meant), timeout_s=30)
    whole = [state["finishTime"] - 1e3 * meant[task] for task, state in states.items() if state["status"] == "SUCCESS"]
    stages = [state["properties"]["stages"] for state in states.values() if state["status"] == "SUCCESS"]
    calls = [sum(stage[name] for name in ("detect", "identify", "swap")) for stage in stages]
    sizes = [batch.items for batch in world.batches() if batch.items]
    return {
        "tasks": len(whole),
        "p50_ms": statistics.median(whole),
        "calls_p50_ms": statistics.median(calls),
        "mean_batch": statistics.fmean(sizes),
        "answers": kinds(answers),
    }


def _wait_for_full_batches(world: Simulated, devices: int) -> None:
    """Raises RuntimeError."""
    until = time.monotonic() + RAMP_S + FULL_S
    while len({batch.device for batch in world.batches() if batch.items == LARGEST}) < devices:
        if time.monotonic() > until:
            raise RuntimeError(f"not every one of {devices} devices has made a full batch in {RAMP_S + FULL_S:.0f} s of load")
        time.sleep(0.1)


def missed(figures: dict[str, Any]) -> list[str]:
    misses = {
        f"{row['devices']} saturated devices are busy {row['busy']:.1%} of the time, not {LEAST_BUSY:.0%}": row["busy"] < LEAST_BUSY
        for row in figures["saturated"]
    }
    added = figures["light"]["added_ms"]
    misses[f"{DEVICES[-1]} devices make {figures['times']:.2f} times what one makes, not {LEAST_TIMES}"] = figures["times"] < LEAST_TIMES
    misses[f"batching adds {added:.1f} ms to p50 at light load, not at most {MOST_ADDED_MS:g}"] = added > MOST_ADDED_MS
    return [words for words, missing in misses.items() if missing]


def table(figures: dict[str, Any]) -> str:
    calm, rows = figures["light"], figures["saturated"]
    lines = [
        f"A batch of n takes a simulated device {_shown(figures['cost']['used'], 1)} s and no core: w600k_r50 on an RTX 2080 Super"
        f" ({_shown(figures['cost']['published'], 1e3)} ms: InsightFace-REST's README, 1.9 ms for one, 33.2 ms for 64), stretched to 1.5"
        f" swaps a second in batches of {LARGEST}. {SIDE} x {SIDE} pictures, more tasks than can be made.",
        "",
        "| devices | swaps/s | times one | device busy | mean batch | cores busy |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        times = row["rate"] / rows[0]["rate"]
        lines.append(
            f"| {row['devices']} | {row['rate']:.2f} | {times:.2f} | {row['busy']:.1%} | {row['mean_batch']:.2f} | {row['cores']:.2f} |"
        )
    lines += [
        "",
        f"Busy: at least {LEAST_BUSY:.0%}. {DEVICES[-1]} devices make {figures['times']:.2f} times what one makes; at least {LEAST_TIMES}.",
        "",
        f"Light load, {LIGHT:g} tasks a second on a device as it was published, two services side by side:",
        "",
        "| | tasks | p50, submit to SUCCESS | p50 of its three calls of models | mean batch |",
        "|---|---:|---:|---:|---:|",
    ]
    for side, text in (("batches", f"batches of up to {LARGEST}"), ("alone", "one at a time")):
        row = calm[side]
        lines.append(f"| {text} | {row['tasks']} | {row['p50_ms']:.1f} ms | {row['calls_p50_ms']:.1f} ms | {row['mean_batch']:.2f} |")
    return "\n".join([*lines, "", f"Batching adds {calm['added_ms']:.1f} ms to the p50 of the calls; at most {MOST_ADDED_MS:g} ms."])


def _shown(cost: dict[str, float], unit: float) -> str:
    return f"{cost['seconds'] * unit:.3g} + {cost['seconds_per_item'] * unit:.3g} n"
