"""`python -m benchmarks.sizing`: docs/capacity.md, and docs/capacity.json with the figures it is made from, from what was measured last."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from benchmarks.machine import line
from benchmarks.simulated import LARGEST

ROOT = Path(__file__).resolve().parent.parent
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"
FULL = 0.7  # how much of what can be done is planned for: the rest is for peaks, and for a node that is down
WANTED = (1, 5, 20, 100)  # requests a second
OURS = ("Ingress", "SwapPipeline", "FaceDetector", "FaceSwapper")
SOURCES = ("capacity", "accelerator", "submit")


def figures(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the page needs of the documents of SOURCES, by their names."""
    return {
        "machine": documents["capacity"]["machine"],
        "families": documents["capacity"]["figures"]["rows"],
        "devices": [
            {name: row[name] for name in ("devices", "rate", "busy", "mean_batch", "cores")}
            for row in documents["accelerator"]["figures"]["saturated"]
        ],
        "device_cost": documents["accelerator"]["figures"]["cost"]["used"],
        "submit": {
            "bytes": documents["submit"]["figures"]["bytes"],
            "rows": [
                {"factor": row["factor"], "offered": row["offered"], "p50_ms": row["all"]["p50_ms"], "p99_ms": row["all"]["p99_ms"]}
                for row in documents["submit"]["figures"]["rows"]
            ],
            "capacity": documents["submit"]["figures"]["capacity"],
        },
    }


def page(measured: Mapping[str, Any]) -> str:
    """docs/capacity.md."""
    return "\n".join([*_swaps(measured), *_memory(measured), *_devices(measured), *_set(measured)]) + "\n"


def _swaps(measured: Mapping[str, Any]) -> list[str]:
    families = measured["families"]
    first = families[0]
    parts = list(dict.fromkeys([*OURS, *(name for family in families for name, cpu in family["cpu_s"].items() if cpu >= 0.001)]))
    lines = [
        "# Capacity",
        "",
        "How much the service carries, and what to set for so many requests a second. `python -m benchmarks.sizing` makes this page from"
        " the figures of `make bench` (capacity.json beside it); a test holds the two together. Measure on your own machine: these"
        " figures are those of",
        "",
        f"> {line(measured['machine'])}",
        "",
        "## Swaps a second, per core",
        "",
        f"{first['clients']} clients that wait for their picture, two {first['side']} x {first['side']} pictures a task, everything of the"
        f" service and the clients on {first['cores']} cores.",
        "",
        "| family | models | swaps/s | per core | p50 | CPU a swap |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['family']} | {row['models']} | {row['rate']:.2f} | {row['rate'] / row['cores']:.2f} | {row['p50_ms']:.0f} ms"
        f" | {sum(row['cpu_s'].values()):.2f} s |"
        for row in families
    ]
    lines += [
        "",
        "Where the CPU of a swap goes, in ms; model runs are in FaceDetector and FaceSwapper:",
        "",
        "| process | " + " | ".join(row["family"] for row in families) + " |",
        "|---|" + "---:|" * len(families),
    ]
    lines += [f"| {part} | " + " | ".join(f"{1e3 * row['cpu_s'].get(part, 0):.0f}" for row in families) + " |" for part in parts]
    return lines


def _memory(measured: Mapping[str, Any]) -> list[str]:
    lines = [
        "",
        "## Memory",
        "",
        "MB that a process has for itself, and all that it maps (libraries and the object store count in every process that maps them):",
        "",
        "| process | " + " | ".join(f"{row['family']}: own | mapped" for row in measured["families"]) + " |",
        "|---|" + "---:|---:|" * len(measured["families"]),
    ]
    shown: dict[str, list[str]] = {}
    for number, row in enumerate(measured["families"]):
        for process in row["memory"]:
            if process["own_mb"] >= 20:
                cells = shown.setdefault(process["name"], ["", ""] * len(measured["families"]))
                if not cells[2 * number]:
                    cells[2 * number : 2 * number + 2] = [str(process["own_mb"]), str(process["rss_mb"])]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in shown.items()]
    total = [f"{sum(process['own_mb'] for process in row['memory'])} |" for row in measured["families"]]
    return [*lines, f"| together | {' | '.join(total)} |"]


def _devices(measured: Mapping[str, Any]) -> list[str]:
    cost, rows = measured["device_cost"], measured["devices"]
    lines = [
        "",
        "## Swaps a second, per device",
        "",
        "No GPU was at hand: the devices are simulated (`make bench NAME=accelerator`). A batch of n takes one"
        f" {cost['seconds']:.2f} + {cost['seconds_per_item']:.3f} n s, so it makes at most"
        f" {LARGEST / (cost['seconds'] + LARGEST * cost['seconds_per_item']):.2f} swaps a second. What they show is how much of its devices"
        " the service uses, which does not depend on how fast they are, as long as the cores beside them keep up.",
        "",
        "| devices | swaps/s | times one | busy | mean batch |",
        "|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['devices']} | {row['rate']:.2f} | {row['rate'] / rows[0]['rate']:.2f} | {row['busy']:.1%} | {row['mean_batch']:.2f} |"
        for row in rows
    ]
    return lines


def _set(measured: Mapping[str, Any]) -> list[str]:
    families, submit = measured["families"], measured["submit"]
    lines = [
        "",
        "## What to set for N requests a second",
        "",
        f"Planned for {FULL:.0%} of what can be done: the rest is for peaks and for what is down. Without devices everything runs on"
        " cores, and what counts is how many there are:",
        "",
        "| requests/s | " + " | ".join(f"cores, {row['family']}" for row in families) + " |",
        "|---:|" + "---:|" * len(families),
    ]
    lines += [
        f"| {wanted} | " + " | ".join(str(math.ceil(wanted * sum(row["cpu_s"].values()) / FULL)) for row in families) + " |"
        for wanted in WANTED
    ]
    cpu = families[0]["cpu_s"]  # the faster family: with the slower one, what processes cost by just being there weighs more
    beside = sum(cpu.values()) - cpu.get("FaceDetector", 0.0) - cpu.get("FaceSwapper", 0.0)
    pipeline, ingress = cpu.get("SwapPipeline", 0.0), cpu.get("Ingress", 0.0)
    largest = max(submit["rows"], key=lambda row: row["factor"])
    lines += [
        "",
        "With devices, d is how many swaps a second one makes: 1 / (what `make bench NAME=stages` says of a face in the largest batch)."
        f" For N requests a second, of two {families[0]['side']} x {families[0]['side']} pictures each:",
        "",
        "| setting | value | why |",
        "|---|---|---|",
        f"| FaceSwapper `num_replicas`, or `max_replicas` | N / ({FULL:g} d) | a device each |",
        f"| SwapPipeline `num_replicas` | {pipeline / FULL:.3f} N / `pipeline.threads`, at least 2 | {1e3 * pipeline:.0f} ms CPU a task |",
        f"| `pipeline.in_flight` x its replicas | {2 * LARGEST} x devices | two batches of {LARGEST}: one that runs, one on its way |",
        "| `ingress.max_dispatched` x Ingress replicas | 1.5 times that | the next task is at hand; the rest waits in the table |",
        "| `max_ongoing_requests` of the other three | above all of that, in all replicas | past it Serve's router sleeps between tries |",
        f"| Ingress `num_replicas` | {ingress / FULL:.3f} N, at least 2 | {1e3 * ingress:.0f} ms of a core a task |",
        f"| cores beside the devices | {beside / FULL:.2f} N | {1e3 * beside:.0f} ms a task: HTTP, database, decode, paste, encode, Ray |",
        "",
        f"Two pictures of {submit['bytes'] // 1000} KB in a submit: with {largest['factor']:g} times the submits that could be made"
        f" ({largest['factor'] * submit['capacity']:.0f} a second; one Ingress, {families[0]['cores']} cores) they were answered after"
        f" {largest['p50_ms']:.0f} ms, 99 % within {largest['p99_ms']:.0f} ms.",
        "",
        "[0035](decisions/0035-how-replicas-follow-the-load.md) has the settings of autoscaling.",
    ]
    return lines


def main() -> None:
    """Write both files. `make bench` must have written what they are made from."""
    documents = {}
    for name in SOURCES:
        file = RESULTS / f"{name}.json"
        if not file.exists():
            typer.echo(f"{file} is missing: make bench NAME={name} writes it", err=True)
            raise typer.Exit(1)
        documents[name] = json.loads(file.read_text())
    measured = figures(documents)
    (DOCS / "capacity.json").write_text(json.dumps(measured, indent=1) + "\n")
    (DOCS / "capacity.md").write_text(page(measured))


if __name__ == "__main__":
    typer.run(main)
