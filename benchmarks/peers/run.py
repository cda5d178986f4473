"""All systems in turn, what must hold between them, and the table."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import bare
from benchmarks.peers.load import Load, put
from benchmarks.peers.scenes import REPEATED, Bodies
from benchmarks.peers.systems import PEERS, Box, System, ours, peer
from benchmarks.result import Chart, Result
from benchmarks.swaps import has_amx
from serve_app.engines.choice import Precision
from serve_app.vision.face import Pixels
from serve_app.vision.image import decode
from tests.standins import Kind, build

CLIENTS = (1, 16)
SOURCES = ("unique", "repeated")
BARE_S, WARM = 4.0, 4
CELL_S, MOST_ROUNDS = 10.0, 5
OVERHEAD: Kind = "functional"  # the stand-in whose models cost next to nothing

REFERENCE = "fastapi"
OURS: dict[str, Precision] = {"ours exact": "exact", "ours fast": "fast"}
NAMES = {**PEERS, "ours exact": "faceswap-serve, exact", "ours fast": "faceswap-serve, fast"}

CELLS = len(NAMES) * len(CLIENTS) * len(SOURCES) + len(NAMES) - 1  # the last with models that cost nothing

# What must hold: how many times the reference's throughput, by sources, and the share of the bare bound; with 16 clients.
TIMES: dict[str, dict[str, float]] = {"ours exact": {"unique": 1.05, "repeated": 1.2}, "ours fast": {"unique": 5.0, "repeated": 6.0}}
OF_BOUND = {"ours exact": 0.9, "ours fast": 0.75}
LATENCY = 1 / 3  # of `fast`: its p50 and p99 by the reference's
OUTSIDE = 0.5  # CPU outside the models, by the reference's
NEEDS_AMX = "ours fast"

APART_PX = 4.0  # bf16 moves a box a little
APART_LEVELS = 3.0  # between two systems' pictures, on average over all pixels

Start = Callable[[], AbstractContextManager[System]]


class Unlike(Exception):
    """The systems did not do the same work: nothing can be compared."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one system did. cells: by sources and clients, as `unique 16`. picture: of the first swap, the same for all systems."""

    cells: dict[str, Load]
    boxes: tuple[set[Box], set[Box]]
    picture: Pixels


def run(seconds: float) -> Result:
    """With models of the real size. Raises Unlike."""
    return _run(seconds, "true_cost")


def run_narrow(seconds: float) -> Result:
    """With an eighth of their channels, which says little of throughput. Raises Unlike."""
    return _run(seconds, "narrow")


def _run(seconds: float, kind: Kind) -> Result:
    """Up to MOST_ROUNDS rounds, of which the medians count, as long as a cell gets CELL_S."""
    number = max(1, min(MOST_ROUNDS, int(seconds / (CELLS * CELL_S))))
    with tempfile.TemporaryDirectory(prefix="faceswap-peers-") as folder:
        build(costly := Path(folder) / kind, kind)
        build(free := Path(folder) / OVERHEAD, OVERHEAD)
        rounds = [_round(costly, free, seconds / (CELLS * number)) for _ in range(number)]
    ratios = {name: statistics.median(each["ratios"][name] for each in rounds) for name in rounds[0]["ratios"]}
    figures = {"standins": kind, "cell_s": seconds / (CELLS * number), "amx": has_amx(), "rounds": rounds, "ratios": ratios}
    missed = [line.words for line in lines(ratios) if line.missed and (figures["amx"] or not line.amx)]
    return Result(figures, table(figures), charts(figures), missed)


def charts(figures: dict[str, Any]) -> list[Chart]:
    """Of the last round."""
    last, most = figures["rounds"][-1], CLIENTS[-1]
    return [
        Chart(
            f"{most} clients",
            "system",
            "swaps/s",
            {sources: [(NAMES[name], one[f"{sources} {most}"]["per_s"]) for name, one in last["cells"].items()] for sources in SOURCES},
            "bars",
        ),
        Chart(
            "CPU outside the models",
            "system",
            "ms a swap",
            {"unique sources": [(NAMES[name], cpu * 1e3) for name, cpu in last["outside_cpu_s"].items()]},
            "bars",
            OUTSIDE * last["outside_cpu_s"][REFERENCE] * 1e3,
        ),
    ]


def _round(costly: Path, free: Path, seconds: float) -> dict[str, Any]:
    bounds = {precision: bare.measure(costly, precision, BARE_S) for precision in OURS.values()}
    seen = {name: asyncio.run(_watch(start, seconds, CLIENTS, SOURCES)) for name, start in _starts(costly).items()}
    without = bare.measure(free, "exact", 1.0)
    light = {name: asyncio.run(_watch(start, seconds, CLIENTS[-1:], SOURCES[:1])) for name, start in _starts(free, fast=False).items()}
    for group in (seen, light):
        for name in group:
            _check_same(name, group[name], group[REFERENCE])
    outside = {name: one.cells["unique 16"].figures()["cpu_s"] - without.cpu_s for name, one in light.items()}
    cells = {name: {cell: load.figures() for cell, load in one.cells.items()} for name, one in seen.items()}
    return {
        "bare": {precision: asdict(bound) for precision, bound in bounds.items()},
        "cells": cells,
        "bound_per_s": {
            name: {sources: bounds[precision].per_s(known=sources == "repeated") for sources in SOURCES} for name, precision in OURS.items()
        },
        "bare_cpu_s": without.cpu_s,
        "outside_cpu_s": outside,
        "outside_roles_cpu_s": {
            name: {role: cpu / len(one.cells["unique 16"].swaps) for role, cpu in one.cells["unique 16"].cpu_s.items()}
            for name, one in light.items()
        },
        "ratios": _ratios(cells, {name: bounds[precision].per_s(known=False) for name, precision in OURS.items()}, outside),
    }


def _starts(models: Path, *, fast: bool = True) -> dict[str, Start]:
    mine = {name: partial(ours, models, precision) for name, precision in OURS.items() if fast or precision == "exact"}
    return {**{name: partial(peer, name, models) for name in PEERS}, **mine}


async def _watch(start: Start, seconds: float, clients: Sequence[int], kinds: Sequence[str]) -> Seen:
    with start() as system:
        warm = await put(system, Bodies(repeated=True), clients=1, seconds=0, least=WARM)
        loads, cells, bodies = [warm], dict[str, Load](), {kind: Bodies(repeated=kind == "repeated") for kind in kinds}
        for kind in kinds:
            for number in clients:
                loads.append(await put(system, bodies[kind], clients=number, seconds=seconds))
                cells[f"{kind} {number}"] = loads[-1]
        errors = [error for load in loads for error in load.errors]
        if not errors:
            files = REPEATED + sum(len(load.swaps) for cell, load in cells.items() if cell.startswith("unique"))
            _check_done(system, await system.done(), sum(len(load.swaps) for load in loads), files)
        elif not any(load.swaps for load in loads):
            raise Unlike(f"nothing was swapped: {errors[0]}")
    swaps = [swap for load in loads for swap in load.swaps]
    boxes = {swap.source for swap in swaps}, {swap.target for swap in swaps}
    return Seen(cells, boxes, decode(warm.swaps[0].data).bgr)


def _check_done(system: System, done: dict[str, int], swaps: int, files: int) -> None:
    """One face made for each swap, one described for each source: for each file, where the system knows that it has seen it before."""
    described = files if system.remembers else swaps
    expected = {"detect": swaps + described, "identify": described, "swap": swaps}
    if done != expected:
        raise Unlike(f"{type(system).__name__} did {done} for {swaps} swaps of {files} source files, not {expected}")


def _check_same(name: str, one: Seen, reference: Seen) -> None:
    for what, found, expected in zip(("source", "target"), one.boxes, reference.boxes, strict=True):
        if not (_all_near(found, expected) and _all_near(expected, found)):
            raise Unlike(f"{NAMES[name]} found other {what} faces: {sorted(found)}, not {sorted(expected)}")
    apart = float(np.abs(one.picture.astype(np.int16) - reference.picture).mean())
    if apart > APART_LEVELS:
        raise Unlike(f"the picture of {NAMES[name]} differs by {apart:.1f} levels on average")


def _all_near(some: Iterable[Box], others: Iterable[Box]) -> bool:
    return all(any(np.abs(np.subtract(a, b)).max() <= APART_PX for b in others) for a in some)


def _ratios(cells: dict[str, dict[str, dict[str, Any]]], bounds: dict[str, float], outside: dict[str, float]) -> dict[str, float]:
    """By name, see `lines`."""
    most, theirs = CLIENTS[-1], cells[REFERENCE]
    found = {"outside": outside["ours exact"] / outside[REFERENCE]}
    for name in OURS:
        mine = cells[name]
        for sources in SOURCES:
            found[f"{name} {sources}"] = mine[f"{sources} {most}"]["per_s"] / theirs[f"{sources} {most}"]["per_s"]
        found[f"{name} bound"] = mine[f"unique {most}"]["per_s"] / bounds[name]
        for percentile in ("p50", "p99"):
            found[f"{name} {percentile}"] = mine[f"unique {most}"][f"{percentile}_s"] / theirs[f"unique {most}"][f"{percentile}_s"]
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that must hold. amx: only where the processor has it."""

    what: str
    measured: float
    limit: float
    at_least: bool
    amx: bool

    @property
    def missed(self) -> bool:
        return not (self.measured >= self.limit if self.at_least else self.measured <= self.limit)

    @property
    def words(self) -> str:
        return f"{self.what}: {self.measured:.2f}, not at {'least' if self.at_least else 'most'} {self.limit:.2f}"


def lines(ratios: dict[str, float]) -> list[Line]:
    """What must hold, of the ratios that `run` gave."""
    found = []
    for name in OURS:
        amx, shown, most = name == NEEDS_AMX, NAMES[name], CLIENTS[-1]
        for sources in SOURCES:
            what = f"{shown}: throughput by that of {PEERS[REFERENCE]}, {most} clients, {sources} sources"
            found.append(Line(what, ratios[f"{name} {sources}"], TIMES[name][sources], True, amx))
        found.append(Line(f"{shown}: throughput by the bare bound", ratios[f"{name} bound"], OF_BOUND[name], True, amx))
    for percentile in ("p50", "p99"):
        what = f"{NAMES[NEEDS_AMX]}: {percentile} by that of {PEERS[REFERENCE]}"
        found.append(Line(what, ratios[f"{NEEDS_AMX} {percentile}"], LATENCY, False, True))
    found.append(Line(f"CPU outside the models a swap by that of {PEERS[REFERENCE]}", ratios["outside"], OUTSIDE, False, False))
    return found


def table(figures: dict[str, Any]) -> str:
    """Markdown of what `run` gave: the figures of the last round, the ratios of the medians."""
    last = figures["rounds"][-1]
    rows = [
        f"Stand-ins {figures['standins']}, 1920 x 1080 in and out, one face of 300 px, JPEG 95; rounds: {len(figures['rounds'])}, the last"
        f" one's figures, {figures['cell_s']:.0f} s each. The load runs on the same cores and is not counted.",
        "",
        "| system | sources | clients | swaps | errors | swaps/s | p50 s | p95 s | p99 s | CPU s a swap |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, cells in last["cells"].items():
        for cell, one in cells.items():
            sources, clients = cell.split()
            shown = " | ".join(f"{one[key]:.2f}" for key in ("per_s", "p50_s", "p95_s", "p99_s", "cpu_s"))
            rows.append(f"| {NAMES[name]} | {sources} | {clients} | {one['swaps']} | {one['errors']} | {shown} |")
    bounds = "; ".join(f"{NAMES[name]} {each['unique']:.2f}, {each['repeated']:.2f}" for name, each in last["bound_per_s"].items())
    rows += ["", f"The models alone, swaps/s with unique and with repeated sources: {bounds}.", ""]
    rows += [
        f"Models that cost {last['bare_cpu_s'] * 1e3:.0f} ms of CPU a swap, 16 clients, unique sources:",
        "",
        "| system | CPU outside the models, ms a swap | of that |",
        "|---|---:|---|",
    ]
    for name, cpu in last["outside_cpu_s"].items():
        roles = [f"{role} {value * 1e3:.0f}" for role, value in last["outside_roles_cpu_s"][name].items() if value > 1e-3]
        rows.append(f"| {NAMES[name]} | {cpu * 1e3:.0f} | {', '.join(roles)} (with the models) |")
    rows += ["", "| must hold, median of the rounds | measured | limit | |", "|---|---:|---:|---|"]
    for line in lines(figures["ratios"]):
        verdict = "not judged: this processor has no AMX" if line.amx and not figures["amx"] else "**missed**" if line.missed else "holds"
        rows.append(f"| {line.what} | {line.measured:.2f} | {'>=' if line.at_least else '<='} {line.limit:.2f} | {verdict} |")
    return "\n".join(rows)
