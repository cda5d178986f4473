"""`python -m benchmarks [NAME]`, or `make bench NAME=...`: measures on this machine and writes benchmarks/results/.

Absolute figures are medians of several runs and gate nothing; they go with the machine they were measured on.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import latency
from benchmarks.machine import machine, machine_line
from serve_app.deployments import environment

RESULTS = Path(__file__).resolve().parent / "results"


def run_latency(runs: int, swaps: int, tasks: int) -> tuple[dict[str, Any], str]:
    measured = [latency.run(swaps=swaps, tasks=tasks) for _ in range(runs)]
    median = {key: statistics.median(run[key] for run in measured) for key in measured[0] if not key.startswith("stages")}
    stages = {name: statistics.median(run["stages_p50_ms"][name] for run in measured) for name in measured[0]["stages_p50_ms"]}
    return {"runs": measured, "median": median, "stages_p50_ms": stages}, latency.table(median, stages)


def run_batching(runs: int, swaps: int, tasks: int) -> tuple[dict[str, Any], str]:
    environment.prepare()
    from benchmarks import batching
    from serve_app.deployments import cluster

    with tempfile.TemporaryDirectory(prefix="faceswap-bench-") as folder, cluster.local_cluster(Path(folder)):
        outcomes = batching.compare(requests=tasks)
    return batching.as_json(outcomes), batching.table(outcomes)


BENCHMARKS: dict[str, Callable[[int, int, int], tuple[dict[str, Any], str]]] = {"latency": run_latency, "batching": run_batching}


def main(
    name: Annotated[str, typer.Argument(help="latency or batching; blank for both")] = "",
    runs: Annotated[int, typer.Option(help="Figures are medians of so many runs")] = 5,
    swaps: Annotated[int, typer.Option(help="Swaps one after another in a run")] = 40,
    tasks: Annotated[int, typer.Option(help="Tasks of a saturated run, requests of a batching run")] = 300,
) -> None:
    RESULTS.mkdir(exist_ok=True)
    for chosen in [name] if name else BENCHMARKS:
        result, table = BENCHMARKS[chosen](runs, swaps, tasks)
        (RESULTS / f"{chosen}.json").write_text(json.dumps({"machine": machine(), **result}, indent=1))
        page = f"# {chosen}\n\n{machine_line()}\n\n{table}\n"
        (RESULTS / f"{chosen}.md").write_text(page)
        typer.echo(page)


if __name__ == "__main__":
    typer.run(main)
