"""CPU around the models, of the systems whose models cost next to nothing: on the real sizes it would be the small difference of two
large figures."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers import bare
from benchmarks.peers.limits import CLIENTS, REFERENCE, SOURCES, Line
from benchmarks.peers.run import Start, check_same, rounds_in, watch
from benchmarks.peers.systems import PEERS, ours, peer
from benchmarks.result import Chart, Result
from tests.standins import build

LIMIT = 0.5  # of the reference's
LIGHTEST = "ours haproxy"  # started so that the least is done around the models
NAMES = {REFERENCE: PEERS[REFERENCE], "ours": "faceswap-serve", LIGHTEST: "faceswap-serve --haproxy"}
CELL = f"{SOURCES[0]} {CLIENTS[-1]}"


def run(seconds: float) -> Result:
    """Rounds of all systems in turn. Raises Unlike."""
    number, cell_s = rounds_in(seconds, len(NAMES))
    with tempfile.TemporaryDirectory(prefix="faceswap-overhead-") as folder:
        build(models := Path(folder), "functional")
        rounds = [_round(models, cell_s) for _ in range(number)]
    ratios = {name: statistics.median(each["ms"][name] / each["ms"][REFERENCE] for each in rounds) for name in NAMES}
    figures = {"cell_s": cell_s, "rounds": rounds, "ratios": ratios}
    line = judged(ratios)
    return Result(figures, table(figures), charts(figures), [line.words] if line.missed else [])


def judged(ratios: dict[str, float]) -> Line:
    """What must hold."""
    what = f"{NAMES[LIGHTEST]}: CPU outside the models a swap by that of {NAMES[REFERENCE]}"
    return Line(what, ratios[LIGHTEST], LIMIT, at_least=False, amx=False)


def _round(models: Path, seconds: float) -> dict[str, Any]:
    alone_ms = bare.measure(models, "exact", 1.0).cpu_s * 1e3
    starts: dict[str, Start] = {
        REFERENCE: partial(peer, REFERENCE, models),
        "ours": partial(ours, models, "exact"),
        LIGHTEST: partial(ours, models, "exact", haproxy=True),
    }
    seen = {name: asyncio.run(watch(start, seconds, CLIENTS[-1:], SOURCES[:1])) for name, start in starts.items()}
    for name, one in seen.items():
        check_same(NAMES[name], one, seen[REFERENCE])
    loads = {name: one.cells[CELL] for name, one in seen.items()}
    roles = {name: {role: cpu * 1e3 / len(load.swaps) for role, cpu in load.cpu_s.items()} for name, load in loads.items()}
    return {
        "alone_ms": alone_ms,
        "ms": {name: sum(each.values()) - alone_ms for name, each in roles.items()},
        "roles_ms": roles,
        "cells": {name: load.figures() for name, load in loads.items()},
    }


def table(figures: dict[str, Any]) -> str:
    """Markdown of what `run` gave."""
    rounds, last = figures["rounds"], figures["rounds"][-1]
    rows = [
        f"1920 x 1080 in and out, one face of 300 px, JPEG 95, unique sources, {CLIENTS[-1]} clients; models that cost"
        f" {last['alone_ms']:.0f} ms of CPU a swap; {len(rounds)} rounds in turns, {figures['cell_s']:.0f} s each. The load"
        " runs on the same cores and is not counted.",
        "",
        "| system | CPU outside the models, ms a swap, by round | median | by FastAPI's, median | the last round's, with the models |",
        "|---|---|---:|---:|---|",
    ]
    for name, shown in NAMES.items():
        found = [each["ms"][name] for each in rounds]
        roles = ", ".join(f"{role} {value:.0f}" for role, value in last["roles_ms"][name].items() if value > 1)
        by_round = ", ".join(f"{value:.0f}" for value in found)
        rows.append(f"| {shown} | {by_round} | {statistics.median(found):.0f} | {figures['ratios'][name]:.2f} | {roles} |")
    line = judged(figures["ratios"])
    return "\n".join([*rows, "", f"{line.what}, at most {line.limit:.2f}: {'**missed**' if line.missed else 'holds'}."])


def charts(figures: dict[str, Any]) -> list[Chart]:
    """By round."""
    points = {NAMES[name]: [(str(number), each["ms"][name]) for number, each in enumerate(figures["rounds"], 1)] for name in NAMES}
    theirs = statistics.median(each["ms"][REFERENCE] for each in figures["rounds"])
    return [Chart("CPU outside the models", "round", "ms a swap", points, "bars", LIMIT * theirs)]
