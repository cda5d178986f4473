"""`python -m benchmarks.gallery`, or `make gallery`: swaps over the faces that installed packages carry, as a picture and a page.

Writes gallery.png and gallery.html into benchmarks/results/, which is not in git: they show people. Prints what was measured on every swap
and exits with 1 when one misses what must hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.__main__ import RESULTS
from benchmarks.command import command
from benchmarks.gallery.exhibition import exhibit
from benchmarks.gallery.gates import GATES
from benchmarks.gallery.page import page
from benchmarks.gallery.sheet import sheet
from benchmarks.gallery.shots import Refused, Shot, Studio
from tests.engines.nets import builtin
from tests.pictures import png


def main(
    pairs: Annotated[int | None, typer.Option(min=1, help="So many swaps, and pairs of each step; all if not given")] = None,
    folder: Annotated[Path, typer.Option(help="Where to write")] = RESULTS,
) -> None:
    """Swaps over the faces that installed packages carry, shown and measured."""
    shown = exhibit(Studio(builtin()), pairs)
    typer.echo("\n".join(line(swap) for swap in shown.swaps))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gallery.png").write_bytes(png(sheet(shown)))
    (folder / "gallery.html").write_text(page(shown))
    typer.echo(f"\n{len(shown.swaps)} swaps: {folder / 'gallery.html'}, {folder / 'gallery.png'}")
    if shown.missed:
        typer.echo("missed: {}".format("\n        ".join(shown.missed)), err=True)
        raise typer.Exit(1)


def line(swap: Shot | Refused) -> str:
    """What was measured, in columns."""
    start = f"{swap.target:>10} <- {swap.source:<10}"
    if isinstance(swap, Refused):
        return f"{start} refused: {swap.why}"
    columns = "  ".join(f"{gate.name} {gate.of(swap):>8}" for gate in GATES)
    return f"{start} turned {swap.fit.turned:3.0f}  apart {swap.apart:3.0f}  {columns}  nearest other {swap.nearest}"


app = command(main)

if __name__ == "__main__":
    app()
