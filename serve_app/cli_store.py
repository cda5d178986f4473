"""`faceswap store`: where tasks and keys are kept."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from tqdm import tqdm

from serve_app.deployments import environment
from serve_app.tasks.database import DatabaseUnavailable, shown
from serve_app.tasks.migrate import DatabaseTooNew
from serve_app.tasks.move import MoveError, move

ROOT = Path(__file__).resolve().parent.parent
DONE = """
{file} is left as it was, and is not used any more by a service that is started with

  FACESWAP_DATABASE_URL=postgresql://...

Pictures have not moved: they stay in {blobs}.
"""

app = typer.Typer(no_args_is_help=True, help="Where tasks and keys are kept.")


@app.callback()
def store() -> None:
    """Where tasks and keys are kept."""


@app.command("migrate")
def migrate(
    to: Annotated[
        str,
        typer.Option(
            envvar="FACESWAP_DATABASE_URL",
            show_envvar=True,
            help="postgresql://user:password@host/database, with nothing in it; "
            "from the environment nobody sees the password in the list of processes",
        ),
    ],
    config: Annotated[Path, typer.Option(help="Serve config file, which says where the tasks are", exists=True, dir_okay=False)] = ROOT
    / "config"
    / "local.yaml",
    data: Annotated[Path | None, typer.Option(help="Folder for tasks and pictures, instead of the file's")] = None,
) -> None:
    """Move tasks, callbacks, keys and usage from the SQLite file to PostgreSQL: all of it, or nothing. The service must be stopped."""
    environment.prepare()
    from serve_app.deployments import cluster  # Ray reads the environment when it is imported

    try:
        settings = cluster.settings_of(cluster.load_config(config, settings={} if data is None else {"data_dir": data}))
        with tqdm(unit="row", desc="moving", file=sys.stderr) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            moved = asyncio.run(move(settings.database, to, progress))
    except (ValueError, MoveError, DatabaseUnavailable, DatabaseTooNew) as error:
        _fail(str(error))
    typer.echo(f"moved to {shown(to)}: " + ", ".join(f"{number:,} {name}" for name, number in moved.items()))
    typer.echo(DONE.format(file=settings.database, blobs=settings.blobs), err=True)


def _fail(why: str) -> NoReturn:
    typer.echo(f"faceswap store migrate: {why}", err=True)
    raise typer.Exit(1)
