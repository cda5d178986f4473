"""The memory of every process of the service over time, under light load: nothing may grow for ever."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import bodies
from benchmarks.footprint import processes
from benchmarks.load import Load, Phase, Plan, ends, kinds
from benchmarks.result import Chart, Result
from benchmarks.service import serving

RATE = 1.0  # tasks a second: a fifth of what two cores can do
SIDE = 512
LOOKS = 180
SETTLE_S = 300.0  # caches fill, pools of threads and of memory grow to their sizes
SHARE = 0.1  # of the time after that, at its begin and at its end, whose medians are compared
# What must hold.
MOST_GROWTH = 0.05
LEAST_MB = 2.0  # less is the noise of small processes


def run(seconds: float) -> Result:
    """Growth is judged where there is time left after the first five minutes; else it is only shown, from the first sixth on."""
    settle = SETTLE_S if seconds > SETTLE_S else seconds / 6
    with (
        tempfile.TemporaryDirectory(prefix="faceswap-bodies-") as folder,
        serving("--family", "builtin", environment={"FACESWAP_SECRET": ""}) as service,
    ):
        load = Load(Plan([service.base], bodies.small(Path(folder), SIDE), [Phase(seconds, RATE)]), Path(folder))
        looks, begin = [], time.monotonic()
        while (at := time.monotonic() - begin) < seconds:
            _read(service.base)
            looks.append({"at": round(at, 1), "processes": [_row(process) for process in processes(service.process.pid)]})
            time.sleep(max(0.0, begin + len(looks) * seconds / LOOKS - time.monotonic()))
        answers = load.answers()
        tasks = [answer.task for answer in answers if answer.task]
        states = ends(service.base, tasks, 60)
    lost = sum(states.get(task, {}).get("status") != "SUCCESS" for task in tasks)
    grown = growth(looks, settle)
    figures = {"rate": RATE, "settle_s": settle, "answers": kinds(answers), "lost": lost, "growth": grown, "looks": looks}
    lines = {f"{row['name']} {row['pid']}": _line(looks, row["pid"]) for row in grown[:10]}
    missed = [f"{lost} accepted tasks did not succeed"] if lost else []
    if seconds > SETTLE_S:
        missed += [
            f"{row['name']} (process {row['pid']}) grew by {row['share']:.1%} after {SETTLE_S / 60:.0f} minutes"
            for row in grown
            if row["share"] > MOST_GROWTH and row["last_mb"] - row["first_mb"] > LEAST_MB
        ]
    return Result(figures, table(figures), [Chart("memory that was written, the largest processes", "seconds", "MB", lines)], missed)


def growth(looks: Sequence[dict[str, Any]], settle: float) -> list[dict[str, Any]]:
    """Of every process that was there all the time after `settle`, the largest first, by memory that it has written."""
    after = [look for look in looks if look["at"] >= settle]
    some = max(1, round(len(after) * SHARE))
    found = []
    for pid, name in {row["pid"]: row["name"] for row in after[0]["processes"]}.items():
        mb = [row["written"] for look in after for row in look["processes"] if row["pid"] == pid]
        if len(mb) == len(after):
            first, last = statistics.median(mb[:some]), statistics.median(mb[-some:])
            resident = next(row["rss"] for row in after[-1]["processes"] if row["pid"] == pid)
            found.append({"pid": pid, "name": name, "first_mb": first, "last_mb": last, "share": last / first - 1, "rss_mb": resident})
    return sorted(found, key=lambda row: -row["last_mb"])


def table(figures: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} x {kind}" for kind, count in figures["answers"].items())
    lines = [
        f"Built-in models, {figures['rate']:g} tasks a second of two {SIDE} x {SIDE} pictures ({counts}; {figures['lost']} lost). Memory"
        " that a process has written and shares with nobody: medians of the first and the last tenth of the time after the first"
        f" {figures['settle_s']:.0f} s.",
        "",
        "| process | begin, MB | end, MB | growth | resident, MB |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['name']} | {row['first_mb']:.1f} | {row['last_mb']:.1f} | {row['share']:+.1%} | {row['rss_mb']:.0f} |"
        for row in figures["growth"]
    ]
    return "\n".join(
        [
            *lines,
            "",
            f"No process may grow by more than {MOST_GROWTH:.0%} (and {LEAST_MB:g} MB) after the first {SETTLE_S / 60:.0f} minutes.",
        ]
    )


def _row(process: Any) -> dict[str, Any]:
    return {name: getattr(process, name) for name in ("pid", "name", "rss", "pss", "own", "written", "cpu_s")}


def _line(looks: Sequence[dict[str, Any]], pid: int) -> list[tuple[float | str, float]]:
    return [(look["at"], row["written"]) for look in looks for row in look["processes"] if row["pid"] == pid]


def _read(base: str) -> None:
    """What clients ask for beside submits: the newest tasks, and the picture of the last one that has one."""
    with urllib.request.urlopen(f"{base}/mj/task/list") as answer:
        shown = [task["imageUrl"] for task in json.load(answer) if task["imageUrl"]]
    if shown:
        with urllib.request.urlopen(shown[0]) as picture:
            picture.read()
