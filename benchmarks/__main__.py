"""`python -m benchmarks [NAME] [--seconds N]`, or `make bench NAME=... SECONDS=...`: measures on this machine.

Writes NAME.json, NAME.md and NAME.png to benchmarks/results/, and report.html of all that is there. Exits with 1 when something that must
hold does not. Absolute figures go with the machine that they were measured on; CI does not run this.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import report
from benchmarks.machine import machine
from benchmarks.registry import BENCHMARKS
from serve_app.deployments import environment

RESULTS = Path(__file__).resolve().parent / "results"
NAMES = "\n".join(f"{name}: {benchmark.about} ({benchmark.seconds:g} s)  \n" for name, benchmark in BENCHMARKS.items())


def main(
    name: Annotated[str, typer.Argument(help="Which; blank for all", metavar="[NAME]")] = "",
    seconds: Annotated[float | None, typer.Option(min=1, help="How long to measure, roughly, without starting and stopping")] = None,
    results: Annotated[Path, typer.Option(help="Folder for what is written")] = RESULTS,
) -> None:
    results.mkdir(parents=True, exist_ok=True)
    if not name:
        _all(seconds, results)
    elif name in BENCHMARKS:
        _one(name, seconds, results)
    else:
        raise typer.BadParameter(f"{name} is not one of {', '.join(BENCHMARKS)}")


def _one(name: str, seconds: float | None, results: Path) -> None:
    environment.prepare()
    from benchmarks import plots  # what draws is not installed for tests

    benchmark = BENCHMARKS[name]
    seconds = seconds or benchmark.seconds
    result = benchmark.load()(seconds)
    document = json.loads(json.dumps(result.document(name, seconds, machine())))  # as others will read it
    (results / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (results / f"{name}.md").write_text(report.markdown(document))
    if document["charts"]:
        (results / f"{name}.png").write_bytes(plots.png(document["charts"]))
    write_page(results)
    typer.echo(report.markdown(document))
    if result.missed:
        typer.echo(f"missed: {'; '.join(result.missed)}", err=True)
        raise typer.Exit(1)


def _all(seconds: float | None, results: Path) -> None:
    """Each in a process of its own: none finds the memory, the environment or the wreck of another."""
    options = ["--results", str(results), *(["--seconds", str(seconds)] if seconds else [])]
    failed = [
        name
        for name, benchmark in BENCHMARKS.items()
        if not benchmark.alone and subprocess.run([sys.executable, "-m", "benchmarks", name, *options]).returncode
    ]
    typer.echo(f"{results / 'report.html'} has all of it")
    if failed:
        typer.echo(f"missed or failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def write_page(results: Path) -> None:
    """report.html of all documents in the folder."""
    files = [file for name in BENCHMARKS if (file := results / f"{name}.json").exists()]
    pictures = {file.stem: file.with_suffix(".png").read_bytes() for file in files if file.with_suffix(".png").exists()}
    (results / "report.html").write_text(report.page([json.loads(file.read_text()) for file in files], pictures))


if __name__ == "__main__":
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    command.command(help=f"Measure on this machine. Benchmarks, and how long each measures:\n\n{NAMES}")(main)
    command()
