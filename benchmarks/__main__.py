"""`python -m benchmarks [NAME]`, or `make bench NAME=...`: measures on this machine and writes benchmarks/results/.

Absolute figures are medians of several runs and go with the machine they were measured on. What `latency`, `stages`, `store`,
`hooks` and `peers` say must hold makes it exit with 1. CI does not run it: absolute figures gate nothing there.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import hooks, latency, store
from benchmarks.machine import machine, machine_line
from serve_app.deployments import environment
from tests.standins import Kind

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much is measured, and on what."""

    runs: int | None
    swaps: int
    tasks: int
    rounds: int
    seconds: float
    standins: Kind | None
    swapper: Kind


def run_latency(wanted: Wanted) -> tuple[dict[str, Any], str]:
    measured = [latency.run(swaps=wanted.swaps, tasks=wanted.tasks) for _ in range(wanted.runs or 5)]
    median = {key: statistics.median(run[key] for run in measured) for key in measured[0] if not key.startswith("stages")}
    stages = {name: statistics.median(run["stages_p50_ms"][name] for run in measured) for name in measured[0]["stages_p50_ms"]}
    result = {"runs": measured, "median": median, "stages_p50_ms": stages, "missed": latency.missed(median)}
    return result, latency.table(median, stages)


def run_batching(wanted: Wanted) -> tuple[dict[str, Any], str]:
    environment.prepare()
    from benchmarks import batching
    from serve_app.deployments import cluster

    with tempfile.TemporaryDirectory(prefix="faceswap-bench-") as folder, cluster.local_cluster(Path(folder)):
        outcomes = batching.compare(requests=wanted.tasks)
    return batching.as_json(outcomes), batching.table(outcomes)


def run_stages(wanted: Wanted) -> tuple[dict[str, Any], str]:
    from benchmarks import stages

    result = stages.run(wanted.rounds, wanted.standins or "narrow", wanted.swapper)
    return result, stages.table(result)


def run_store(wanted: Wanted) -> tuple[dict[str, Any], str]:
    result = store.run(wanted.rounds)
    return result, store.table(result)


def run_hooks(wanted: Wanted) -> tuple[dict[str, Any], str]:
    result = hooks.run(wanted.rounds)
    return result, hooks.table(result)


def run_peers(wanted: Wanted) -> tuple[dict[str, Any], str]:
    from benchmarks.peers import run as peers

    result = peers.run(wanted.seconds, wanted.runs or 1, wanted.standins or "true_cost")
    return result, peers.table(result)


BENCHMARKS: dict[str, Callable[[Wanted], tuple[dict[str, Any], str]]] = {
    "latency": run_latency,
    "batching": run_batching,
    "stages": run_stages,
    "store": run_store,
    "hooks": run_hooks,
    "peers": run_peers,
}


def main(
    name: Annotated[str, typer.Argument(help="latency, batching, stages, store, hooks or peers; blank for all")] = "",
    runs: Annotated[int | None, typer.Option(help="Figures are medians of so many runs: 5 unless given, of peers 1")] = None,
    swaps: Annotated[int, typer.Option(help="Swaps one after another in a run")] = 40,
    tasks: Annotated[int, typer.Option(help="Tasks of a saturated run, requests of a batching run")] = 300,
    rounds: Annotated[int, typer.Option(help="Rounds of stages and of store, of which the medians count; of hooks an eighth")] = 31,
    seconds: Annotated[float, typer.Option(help="Of each system, number of clients and kind of source of peers")] = 12.0,
    standins: Annotated[
        Kind | None,
        typer.Option(help="Model files of stages and peers: 1/8 of the channels, or the real size, 746 MB and slow; peers' own choice"),
    ] = None,
    swapper: Annotated[Kind, typer.Option(help="Model file whose batches stages measures")] = "true_cost",
) -> None:
    wanted, missed = Wanted(runs, swaps, tasks, rounds, seconds, standins, swapper), list[str]()
    RESULTS.mkdir(exist_ok=True)
    for chosen in [name] if name else BENCHMARKS:
        result, table = BENCHMARKS[chosen](wanted)
        (RESULTS / f"{chosen}.json").write_text(json.dumps({"machine": machine(), **result}, indent=1))
        page = f"# {chosen}\n\n{machine_line()}\n\n{table}\n"
        (RESULTS / f"{chosen}.md").write_text(page)
        typer.echo(page)
        missed += result.get("missed", [])
    if missed:
        typer.echo(f"missed: {'; '.join(missed)}", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
