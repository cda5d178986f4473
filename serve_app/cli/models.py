"""`faceswap models`: the files of the models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from tqdm import tqdm

from serve_app.engines import catalog, download, fetch, weights

ROOT = Path(__file__).resolve().parent.parent.parent

app = typer.Typer(no_args_is_help=True, help="The model files.")

OUTCOMES = {
    "fetched": "fetched, sha256 checked",
    "present": "there already, sha256 known",
    "kept": "there already and left as it is, sha256 not known (faceswap models check tells more)",
}


@app.command("prepare")
def prepare(folder: Annotated[Path, typer.Option(help="The models folder")] = ROOT / "models") -> None:
    """Fetch and convert the built-in weights, unless they are there already."""
    try:
        prepare_builtin(folder / "builtin")
    except RuntimeError as error:
        typer.echo(f"faceswap models prepare: {error}", err=True)
        raise typer.Exit(1) from None


@app.command("check")
def check(folder: Annotated[Path, typer.Option(help="The models folder")] = ROOT / "models") -> None:
    """Say which InsightFace files are there, whether they are the known ones, and what they can be used for."""
    rows = catalog.check(folder)
    typer.echo(catalog.table(rows))
    raise typer.Exit(1 if any(row.problem for row in rows) else 0)


@app.command("fetch")
def fetch_insightface(
    accept_license: Annotated[bool, typer.Option("--accept-license", help="You may use these files: non-commercial research only")] = False,
    base_url: Annotated[str | None, typer.Option(help="A mirror of InsightFace's release, with the same file names")] = None,
    folder: Annotated[Path, typer.Option(help="The models folder")] = ROOT / "models",
) -> None:
    """Fetch the InsightFace files that are missing; files that are there stay as they are."""
    try:
        with bytes_bar() as progress:
            outcomes = fetch.fetch(folder, accept_license=accept_license, progress=progress, base_url=base_url)
        for outcome in outcomes:
            typer.echo(f"{outcome.name}: {OUTCOMES[outcome.state]}")
        catalog.require_insightface(folder)
    except download.FetchError as error:
        hint = "" if accept_license else "\nTo fetch them on these terms: faceswap models fetch --accept-license"
        typer.echo(f"faceswap models fetch: {error}{hint}", err=True)
        raise typer.Exit(1) from None
    except RuntimeError as error:  # of a file that was there before
        typer.echo(f"faceswap models fetch: {error}\nMove such a file away to fetch the published one.", err=True)
        raise typer.Exit(1) from None


@contextmanager
def bytes_bar() -> Iterator[download.Progress]:
    """A bar for one file after the other."""
    bars: dict[str, tqdm[NoReturn]] = {}

    def progress(name: str, done: int, total: int) -> None:
        if name not in bars:
            for bar in bars.values():
                bar.close()
            bars[name] = tqdm(desc=name, unit="B", unit_scale=True, initial=0, file=sys.stderr)
        bars[name].total = total or None
        bars[name].update(done - bars[name].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()


def prepare_builtin(folder: Path) -> None:
    if weights.ready(folder):
        return
    with tqdm(total=1, unit="step", desc="built-in weights", file=sys.stderr) as bar:

        def progress(label: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_description_str(label)
            bar.update(done - bar.n)

        weights.prepare(folder, progress)
