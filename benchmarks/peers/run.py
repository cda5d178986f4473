"""All systems in turn, and whether they did the same work."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import bare
from benchmarks.peers.limits import CLIENTS, NAMES, OURS, REFERENCE, SOURCES, lines, ratios_of
from benchmarks.peers.load import Load, put
from benchmarks.peers.page import charts, table
from benchmarks.peers.scenes import REPEATED, Bodies
from benchmarks.peers.systems import FOR_THROUGHPUT, PEERS, Box, System, ours, peer
from benchmarks.result import Result
from benchmarks.swaps import has_amx
from serve_app.vision.face import Pixels
from serve_app.vision.image import decode
from tests.standins import Kind, build

BARE_S, WARM = 4.0, 4
CELL_S, MOST_ROUNDS = 10.0, 5
SWAPS_EACH = 2  # of each client in a cell, at least: throughput is measured from its first
JUDGED = (REFERENCE, *OURS)
CELLS, JUDGED_CELLS = len(NAMES) * len(CLIENTS) * len(SOURCES), len(JUDGED) * len(SOURCES)

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
    number, cell_s = rounds_in(seconds, CELLS, JUDGED_CELLS)
    with tempfile.TemporaryDirectory(prefix="faceswap-peers-") as folder:
        build(costly := Path(folder) / kind, kind)
        rounds = [_round(costly, cell_s, NAMES, CLIENTS)]
        rounds += [_round(costly, cell_s, JUDGED, CLIENTS[-1:]) for _ in range(number - 1)]
    ratios = {name: statistics.median(each["ratios"][name] for each in rounds) for name in rounds[0]["ratios"]}
    figures = {"standins": kind, "cell_s": cell_s, "amx": has_amx(), "rounds": rounds, "ratios": ratios}
    missed = [line.words for line in lines(ratios) if line.missed and (figures["amx"] or not line.amx)]
    return Result(figures, table(figures), charts(figures), missed)


def rounds_in(seconds: float, cells: int, later: int | None = None) -> tuple[int, float]:
    """How many rounds, of which the medians count, and a cell's seconds: up to MOST_ROUNDS, as long as a cell gets CELL_S.

    cells: of the first round. later: of each other one, where these have fewer: only those that are judged.
    """
    later = cells if later is None else later
    number = max(1, min(MOST_ROUNDS, 1 + int((seconds / CELL_S - cells) / later)))
    return number, seconds / (cells + later * (number - 1))


def _round(costly: Path, seconds: float, names: Collection[str], clients: Sequence[int]) -> dict[str, Any]:
    """The bound is measured right before and right after the system that is held against it: the machine is not the same for long."""
    seen, bounds = dict[str, Seen](), dict[str, list[bare.Bare]]()
    for name, start in _starts(costly).items():
        if name not in names:
            continue
        before = _bound(costly, name)
        seen[name] = asyncio.run(watch(start, seconds, clients, SOURCES))
        bounds[name] = [*before, *_bound(costly, name)]
    for name, one in seen.items():
        check_same(NAMES[name], one, seen[REFERENCE])
    cells = {name: {cell: load.figures() for cell, load in one.cells.items()} for name, one in seen.items()}
    bound_per_s = {
        name: {sources: statistics.mean(bound.per_s(known=sources == "repeated") for bound in bounds[name]) for sources in SOURCES}
        for name in OURS
    }
    return {
        "bare": {name: [asdict(bound) for bound in bounds[name]] for name in OURS},
        "cells": cells,
        "bound_per_s": bound_per_s,
        "ratios": ratios_of(cells, {name: bound_per_s[name]["unique"] for name in OURS}),
    }


def _bound(models: Path, name: str) -> list[bare.Bare]:
    """Measured now, where the system is ours."""
    return [bare.measure(models, OURS[name], BARE_S)] if name in OURS else []


def _starts(models: Path) -> dict[str, Start]:
    mine = {name: partial(ours, models, precision, FOR_THROUGHPUT[precision], haproxy=True) for name, precision in OURS.items()}
    return {**{name: partial(peer, name, models) for name in PEERS}, **mine}


async def watch(start: Start, seconds: float, clients: Sequence[int], kinds: Sequence[str]) -> Seen:
    """One system, from its start to its stop: a cell for each of these kinds of sources and numbers of clients. Raises Unlike."""
    with start() as system:
        warm = await put(system, Bodies(repeated=True), clients=1, seconds=0, least=WARM)
        loads, cells, bodies = [warm], dict[str, Load](), {kind: Bodies(repeated=kind == "repeated") for kind in kinds}
        for kind in kinds:
            for number in clients:
                loads.append(await put(system, bodies[kind], clients=number, seconds=seconds, least=SWAPS_EACH))
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


def check_same(name: str, one: Seen, reference: Seen) -> None:
    """Raises Unlike."""
    for what, found, expected in zip(("source", "target"), one.boxes, reference.boxes, strict=True):
        if not (_all_near(found, expected) and _all_near(expected, found)):
            raise Unlike(f"{name} found other {what} faces: {sorted(found)}, not {sorted(expected)}")
    apart = float(np.abs(one.picture.astype(np.int16) - reference.picture).mean())
    if apart > APART_LEVELS:
        raise Unlike(f"the picture of {name} differs by {apart:.1f} levels on average")


def _all_near(some: Iterable[Box], others: Iterable[Box]) -> bool:
    return all(any(np.abs(np.subtract(a, b)).max() <= APART_PX for b in others) for a in some)
