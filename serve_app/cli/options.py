"""What commands on a store that is already there have in common: which config file, which folder, how they fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from serve_app.deployments import environment
from serve_app.settings import Settings

SHIPPED = (Path(__file__).parent.parent / "shipped").resolve()  # config/, also where the package is installed without a checkout
DEFAULT_CONFIG = SHIPPED / "local.yaml"

Config = Annotated[Path, typer.Option(help="Serve config file, which says where tasks and keys are", exists=True, dir_okay=False)]
Data = Annotated[Path | None, typer.Option(help="Folder for tasks and pictures, instead of the file's")]


def settings_from(config: Path, data: Path | None) -> Settings:
    """Raises ValueError that names the file and what is wrong in it."""
    environment.prepare()
    from serve_app.deployments import cluster  # Ray reads the environment when it is imported

    return cluster.settings_of(cluster.load_config(config, settings={} if data is None else {"data_dir": data}))


def fail(command: str, why: object) -> NoReturn:
    typer.echo(f"faceswap {command}: {why}", err=True)
    raise typer.Exit(1)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns, a line each."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
