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
from benchmarks.peers.limits import CLIENTS, REFERENCE, SOURCES
from benchmarks.peers.run import Start, check_same, watch
from benchmarks.peers.systems import PEERS, ours, peer
from benchmarks.result import Chart, Result
from tests.standins import build

CELL_S, MOST_ROUNDS = 10.0, 5
LIMIT = 0.5  # of the reference's
LIGHTEST = "ours haproxy"  # started so that the least is done around the models
NAMES = {REFERENCE: PEERS[REFERENCE], "ours": "faceswap-serve", LIGHTEST: "faceswap-serve --haproxy"}
CELL = f"{SOURCES[0]} {CLIENTS[-1]}"


def run(seconds: float) -> Result:
    """Rounds of all systems in turn, up to MOST_ROUNDS as long as each gets CELL_S. Raises Unlike."""
    number = max(1, min(MOST_ROUNDS, int(seconds / (len(NAMES) * CELL_S))))
    with tempfile.TemporaryDirectory(prefix="faceswap-overhead-") as folder:
        build(models := Path(folder), "functional")
        rounds = [_round(models, seconds / (len(NAMES) * number)) for _ in range(number)]
    ratios = {name: statistics.median(each["ms"][name] / each["ms"][REFERENCE] for each in rounds) for name in NAMES}
    figures = {"cell_s": seconds / (len(NAMES) * number), "rounds": rounds, "ratios": ratios}
    missed = (
        [] if ratios[LIGHTEST] <= LIMIT else [f"{NAMES[LIGHTEST]}: {ratios[LIGHTEST]:.2f} of {NAMES[REFERENCE]}'s, not at most {LIMIT:.2f}"]
    )
    return Result(figures, table(figures), charts(figures), missed)


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
    verdict = "holds" if figures["ratios"][LIGHTEST] <= LIMIT else "**missed**"
    return "\n".join([*rows, "", f"{NAMES[LIGHTEST]}: at most {LIMIT:.2f} of {NAMES[REFERENCE]}'s: {verdict}."])


def charts(figures: dict[str, Any]) -> list[Chart]:
    """By round."""
    points = {NAMES[name]: [(str(number), each["ms"][name]) for number, each in enumerate(figures["rounds"], 1)] for name in NAMES}
    return [Chart("CPU outside the models", "round", "ms a swap", points, "bars")]
