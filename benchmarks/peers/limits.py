"""What must hold between the systems, and the ratios that it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.peers.systems import PEERS
from serve_app.engines.choice import Precision

CLIENTS = (1, 16)
SOURCES = ("unique", "repeated")

REFERENCE = "fastapi"
OURS: dict[str, Precision] = {"ours exact": "exact", "ours fast": "fast"}
NAMES = {
    **PEERS,
    "ours exact": "faceswap-serve --haproxy, exact",
    "ours fast": "faceswap-serve --haproxy, fast",
}

# What must hold: how many times the reference's throughput, by sources, and the share of the bare bound; with 16 clients.
TIMES: dict[str, dict[str, float]] = {"ours exact": {"unique": 1.05, "repeated": 1.2}, "ours fast": {"unique": 5.0, "repeated": 6.0}}
OF_BOUND = {"ours exact": 0.9, "ours fast": 0.75}
LATENCY = 1 / 3  # of `fast`: its p50 and p99 by the reference's
NEEDS_AMX = "ours fast"


def ratios_of(cells: dict[str, dict[str, dict[str, Any]]], bounds: dict[str, float]) -> dict[str, float]:
    """By name, see `lines`."""
    most, theirs = CLIENTS[-1], cells[REFERENCE]
    found: dict[str, float] = {}
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
    return found
