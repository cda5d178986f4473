"""What submits with photographs hear, and how soon, from half of what can be made to eight times as much."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import bodies
from benchmarks.load import Answer, Load, Phase, Plan, ends, kinds, summary
from benchmarks.machine import cores_busy
from benchmarks.result import Chart, Result
from benchmarks.simulated import LARGEST, PATIENCE_S, SLOW, Simulated, simulated, use

DEVICES = 2
SIZE = 400_000  # bytes of a picture; a body has two
ROOM = 2 * 2 * LARGEST * DEVICES  # unfinished tasks: what is on its way, and as many more
FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0)
FILL_S, MEASURE_S = 12.0, 16.0
DRAIN_S = 120.0
WANTED = {"code 1", "code 23"}
# What must hold.
AT = 4.0
MOST_TIMES = 4.0  # p99 there, beside half of capacity


def run(seconds: float) -> Result:
    """A fifth of the time for each rate, one straight after the other; finding out what can be made comes on top."""
    with (
        tempfile.TemporaryDirectory(prefix="faceswap-bodies-") as folder,
        simulated(SLOW, devices=DEVICES, settings={"limits": {"max_unfinished": ROOM, "key_share": 1.0}}) as world,
    ):
        files = bodies.large(Path(folder), SIZE)
        capacity = _capacity(world, files, Path(folder))
        rows = [_offered(world, files, factor, capacity, seconds / len(FACTORS), Path(folder)) for factor in FACTORS]
        states = ends(world.base, [task for row in rows for task in row["tasks"]], DRAIN_S)
    for row in rows:
        row["lost"] = sum(states.get(task, {}).get("status") != "SUCCESS" for task in row.pop("tasks"))
    figures = {"devices": DEVICES, "room": ROOM, "bytes": SIZE, "capacity": capacity, "rows": rows, "times": _times(rows)}
    p99: list[tuple[float | str, float]] = [(row["factor"], row["all"]["p99_ms"]) for row in rows]
    p50: list[tuple[float | str, float]] = [(row["factor"], row["all"]["p50_ms"]) for row in rows]
    chart = Chart(
        "until a submit is answered", "submits, times what can be made", "ms", {"p50": p50, "p99": p99}, limit=MOST_TIMES * p99[0][1]
    )
    return Result(figures, table(figures), [chart], missed(figures))


def _capacity(world: Simulated, files: Sequence[str], folder: Path) -> float:
    """Tasks a second that are finished while more are submitted; returns when all have ended."""
    load = Load(Plan([world.base], files, [Phase(FILL_S + MEASURE_S + PATIENCE_S, 2 * DEVICES * SLOW.rate())], seed=1), folder)
    time.sleep(FILL_S)
    begin = time.time()
    time.sleep(MEASURE_S)
    end = time.time()
    found = use(world.batches_until(end), begin, end, DEVICES)
    tasks = [answer.task for answer in load.stop() if answer.task]
    ends(world.base, tasks, DRAIN_S)
    return found.rate


def _offered(world: Simulated, files: Sequence[str], factor: float, capacity: float, seconds: float, folder: Path) -> dict[str, Any]:
    cores = cores_busy()
    answers = Load(Plan([world.base], files, [Phase(seconds, factor * capacity)], seed=2), folder).answers()
    used = cores()
    return {
        "factor": factor,
        "offered": len(answers),
        "answers": kinds(answers),
        "tasks": [answer.task for answer in answers if answer.task],
        "all": summary(answer.seconds for answer in answers),
        **{kind: summary(_of_kind(answers, kind)) for kind in kinds(answers)},
        "latest_ms": round(1e3 * max(answer.late for answer in answers), 1),
        "cores": used,
    }


def _of_kind(answers: Sequence[Answer], kind: str) -> list[float]:
    return [answer.seconds for answer in answers if answer.kind == kind]


def _times(rows: Sequence[dict[str, Any]]) -> float:
    p99 = {row["factor"]: row["all"]["p99_ms"] for row in rows}
    return float(p99[AT] / p99[FACTORS[0]])


def missed(figures: dict[str, Any]) -> list[str]:
    found = []
    for row in figures["rows"]:
        if row["lost"]:
            found.append(f"{row['lost']} accepted tasks of {row['factor']:g} times capacity did not succeed")
        if row["factor"] <= AT and (others := {kind: count for kind, count in row["answers"].items() if kind not in WANTED}):
            found.append(f"at {row['factor']:g} times capacity some answers were {others}")
    if figures["times"] > MOST_TIMES:
        found.append(f"p99 at {AT:g} times capacity is {figures['times']:.1f} times that at half of it, not at most {MOST_TIMES:g}")
    return found


def table(figures: dict[str, Any]) -> str:
    lines = [
        f"{figures['devices']} simulated devices finish {figures['capacity']:.2f} tasks a second; room for {figures['room']} unfinished"
        f" ones. Two photographs of about {figures['bytes'] // 1000} KB in a submit, at times drawn by chance; latency from when it was"
        " meant to leave.",
        "",
        "| times capacity | submits | code 1 | code 23 | others | lost | p50 | p95 | p99 | p99 of code 1 | of code 23 | cores busy |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in figures["rows"]:
        counts, latency = row["answers"], row["all"]
        others = row["offered"] - sum(counts.get(kind, 0) for kind in WANTED)
        p99s = " | ".join(f"{row[kind]['p99_ms']:.0f} ms" if kind in row else "" for kind in sorted(WANTED))
        lines.append(
            f"| {row['factor']:g} | {row['offered']} | {counts.get('code 1', 0)} | {counts.get('code 23', 0)} | {others} | {row['lost']}"
            f" | {latency['p50_ms']:.0f} ms | {latency['p95_ms']:.0f} ms | {latency['p99_ms']:.0f} ms | {p99s} | {row['cores']:.2f} |"
        )
    return "\n".join(
        [*lines, "", f"At {AT:g} times capacity p99 is {figures['times']:.2f} times that at half of it; at most {MOST_TIMES:g} times."]
    )
