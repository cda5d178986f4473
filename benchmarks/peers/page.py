"""The comparison for people: a table and charts of the figures."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.limits import CLIENTS, NAMES, SOURCES, lines
from benchmarks.result import Chart


def table(figures: dict[str, Any]) -> str:
    """Markdown of what `run` gave: the figures of the first round, the only one with all cells, the ratios of the medians."""
    first = figures["rounds"][0]
    rows = [
        f"Stand-ins {figures['standins']}, 1920 x 1080 in and out, one face of 300 px, JPEG 95; rounds: {len(figures['rounds'])}, the first"
        f" one's figures, at least {figures['cell_s']:.0f} s each. The load runs on the same cores and is not counted.",
        "",
        "| system | sources | clients | swaps | errors | swaps/s | p50 s | p95 s | p99 s | CPU s a swap |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, cells in first["cells"].items():
        for cell, one in cells.items():
            sources, clients = cell.split()
            shown = " | ".join(f"{one[key]:.2f}" for key in ("per_s", "p50_s", "p95_s", "p99_s", "cpu_s"))
            rows.append(f"| {NAMES[name]} | {sources} | {clients} | {one['swaps']} | {one['errors']} | {shown} |")
    bounds = "; ".join(f"{NAMES[name]} {each['unique']:.2f}, {each['repeated']:.2f}" for name, each in first["bound_per_s"].items())
    rows += ["", f"The models alone, swaps/s with unique and with repeated sources: {bounds}.", ""]
    rows += ["| must hold, median of the rounds | measured | limit | |", "|---|---:|---:|---|"]
    for line in lines(figures["ratios"]):
        verdict = "not judged: this processor has no AMX" if line.amx and not figures["amx"] else "**missed**" if line.missed else "holds"
        rows.append(f"| {line.what} | {line.measured:.2f} | {'>=' if line.at_least else '<='} {line.limit:.2f} | {verdict} |")
    return "\n".join(rows)


def charts(figures: dict[str, Any]) -> list[Chart]:
    """Of the first round."""
    first, most = figures["rounds"][0], CLIENTS[-1]
    return [
        Chart(
            f"{most} clients",
            "system",
            "swaps/s",
            {sources: [(NAMES[name], one[f"{sources} {most}"]["per_s"]) for name, one in first["cells"].items()] for sources in SOURCES},
            "bars",
        ),
    ]
