"""`faceswap hooks`: callbacks that are owed or were given up, also while the service runs."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from serve_app.cli.database import on_database
from serve_app.cli.options import DEFAULT_CONFIG, Config, Data, aligned, fail
from serve_app.tasks.clock import clock_of
from serve_app.tasks.database import now_ms
from serve_app.tasks.hooks import MOST, Counts, Hooks, Owed

T = TypeVar("T")

_HEADS = ("task", "says", "state", "host", "key", "owed since", "tries", "next", "error")

app = typer.Typer(no_args_is_help=True, help="Callbacks that are owed, or were given up.")

Host = Annotated[str | None, typer.Option(help="Only of this host, as listed: with its port where the hook's URL names one")]


@app.command("list")
def list_hooks(
    dead: Annotated[bool, typer.Option("--dead", help="Only those that were given up")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Only those that are still tried")] = False,
    host: Host = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many, the oldest")] = 100,
    config: Config = DEFAULT_CONFIG,
    data: Data = None,
) -> None:
    """What is owed and what was given up, oldest first; hosts only, for the rest of a hook's URL is often a secret."""

    async def work(hooks: Hooks) -> tuple[Counts, list[Owed]]:
        return await hooks.counts(), await hooks.find(dead=None if dead == pending else dead, host=host, limit=limit)

    counts, found = _on_hooks("list", work, config, data)
    typer.echo(table(found, now_ms()))
    typer.echo(summary(counts, now_ms()), err=True)


@app.command("show")
def show(
    task: Annotated[str, typer.Argument(help="The task's id")],
    config: Config = DEFAULT_CONFIG,
    data: Data = None,
) -> None:
    """What the hook of one task has not heard yet."""
    found = _on_hooks("show", lambda hooks: hooks.show(task), config, data)
    if not found:
        fail("hooks show", f"nothing is owed for {task}: its hook has heard all, or it has none, or there is no such task")
    typer.echo(table(found, now_ms()))


@app.command("resend")
def resend(
    task: Annotated[
        str | None, typer.Argument(help="A task's id: its hook hears its present state, also if it has heard it before")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All that were given up")] = False,
    host: Host = None,
    config: Config = DEFAULT_CONFIG,
    data: Data = None,
) -> None:
    """Send again: what one task's hook is owed, or everything of a host, or all that was given up (--dead --host H: both must fit).

    A running service begins within seconds; a host that failed just now is tried again within half a minute.
    """
    if (task is not None and (dead or host is not None)) or (task is None and not dead and host is None):
        raise typer.BadParameter("give a task's id, or --dead, or --host, or both of these")
    if task is not None:
        id = task
        if not _on_hooks("resend", lambda hooks: hooks.resend(id), config, data):
            fail("hooks resend", f"there is no task {task} with a hook that has something to hear")
        typer.echo("1 to send again")
    else:
        count = _on_hooks("resend", lambda hooks: hooks.resend_all(dead=True if dead else None, host=host), config, data)
        typer.echo(f"{count} to send again")


def table(found: list[Owed], now: int) -> str:
    """One line a state."""
    if not found:
        return "Nothing."
    return aligned([_HEADS, *(_line(owed, now) for owed in found)])


def summary(counts: Counts, now: int) -> str:
    age = "" if counts.oldest is None else f", the oldest for {counts.age_s(now)} s"
    return f"{counts.pending} pending{age}; {counts.dead} given up"


def _line(owed: Owed, now: int) -> tuple[str, ...]:
    if owed.state == "pending" and owed.due is not None:
        until = f"in {max(0, (owed.due - now) // 1000)} s"
    else:
        until = "now" if owed.state == "trying" else "never"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owed.created // 1000))
    return owed.task, owed.status, owed.state, owed.host or "-", owed.owner or "-", since, str(owed.attempts), until, owed.error or "-"


def _on_hooks(command: str, work: Callable[[Hooks], Awaitable[T]], config: Path, data: Path | None) -> T:
    return on_database(f"hooks {command}", lambda database: work(Hooks(database, clock=clock_of(database))), config, data)
