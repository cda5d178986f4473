"""How a benchmark that is a command of its own is called."""

from __future__ import annotations

from collections.abc import Callable

import typer


def command(main: Callable[..., None]) -> typer.Typer:
    """`main` as a command, for tests too."""
    app = typer.Typer(add_completion=False)
    app.command()(main)
    return app
