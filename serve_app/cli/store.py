"""`faceswap store`: where tasks and keys are kept."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from tqdm import tqdm

from serve_app.cli.options import DEFAULT_CONFIG, Config, Data, fail, settings_from
from serve_app.tasks.database import DatabaseUnavailable, shown
from serve_app.tasks.migrate import DatabaseTooNew
from serve_app.tasks.move import MoveError, move

DONE = """
{file} is left as it was, and is not used any more by a service that is started with

  FACESWAP_DATABASE_URL=postgresql://...

Pictures have not moved: they stay in {blobs}, or where FACESWAP_BLOBS_URL says.
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
    config: Config = DEFAULT_CONFIG,
    data: Data = None,
) -> None:
    """Move tasks, callbacks, keys and usage from the SQLite file to PostgreSQL: all of it, or nothing. The service must be stopped."""
    try:
        settings = settings_from(config, data)
        with tqdm(unit="row", desc="moving", file=sys.stderr) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            moved = asyncio.run(move(settings.database, to, progress))
    except (ValueError, MoveError, DatabaseUnavailable, DatabaseTooNew) as error:
        fail("store migrate", error)
    typer.echo(f"moved to {shown(to)}: " + ", ".join(f"{number:,} {name}" for name, number in moved.items()))
    typer.echo(DONE.format(file=settings.database, blobs=settings.blobs), err=True)
