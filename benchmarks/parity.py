"""`python -m benchmarks.parity`, or `make parity`: the service against insightface's own classes, stage by stage.

The real model files may not be passed on, so both sides run on stand-ins: 1/8 of the channels for many cases, the real
layers and sizes for a few. `fast` is compared with them too. Prints a table and exits with 1 when a difference is larger than allowed.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.command import command
from benchmarks.machine import machine_line
from tests.parity import ours
from tests.parity.cases import LARGE, case
from tests.parity.reference import Reference
from tests.parity.stages import Table, lines, tabulate
from tests.standins import Kind, build


def run(kind: Kind, files: Path, first: int, cases: int, *, table: Table | None = None) -> Table:
    """Cases first .. first + cases on stand-ins of this kind, kept in `files`. The real sizes get smaller pictures and fewer faces."""
    built = build(files / kind, kind)
    largest, most = (900, 2) if kind == "true_cost" else (LARGE, 4)
    pictures = (case(seed, largest=largest) for seed in range(first, first + cases))
    return tabulate(Reference(built), ours.load(built), ours.load(built, precision="fast"), pictures, most=most, table=table)


def main(
    narrow: Annotated[int, typer.Option(help="Cases on stand-ins of 1/8 of the channels")] = 200,
    true_cost: Annotated[int, typer.Option(help="Cases on stand-ins of the real size, 746 MB")] = 10,
    first: Annotated[int, typer.Option(help="The first seed")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Where to keep the stand-ins; else they are made anew and removed")] = None,
) -> None:
    """The service's pictures and numbers against the library's."""
    table, start = Table(), time.perf_counter()
    wanted: dict[Kind, int] = {"narrow": narrow, "true_cost": true_cost}
    with tempfile.TemporaryDirectory(prefix="faceswap-parity-") as temporary:
        for kind, cases in wanted.items():
            if cases:
                run(kind, folder or Path(temporary), first, cases, table=table)
    typer.echo("\n".join([machine_line(), "", *lines(table), "", f"{narrow} + {true_cost} cases, {time.perf_counter() - start:.0f} s"]))
    if table.missed:
        typer.echo(f"missed: {', '.join(table.missed)}", err=True)
        raise typer.Exit(1)


app = command(main)

if __name__ == "__main__":
    app()
