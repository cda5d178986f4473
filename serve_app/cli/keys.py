"""`faceswap key`: the keys of a service, also while it runs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from serve_app.cli.database import on_database
from serve_app.cli.options import DEFAULT_CONFIG, Config, Data, aligned, fail
from serve_app.tasks.clock import DAY_MS, HOUR_MS
from serve_app.tasks.database import now_ms
from serve_app.tasks.hook_secret import checked, new_secret
from serve_app.tasks.keys import MOST_WEIGHT, Key, KeyRing, KeyUse

T = TypeVar("T")

HOW = """
The line above is the token; it is shown this once and kept nowhere. Clients send it in either of these headers:

  mj-api-secret: TOKEN
  Authorization: Bearer TOKEN

A running service knows it within 5 s. faceswap key revoke {id} ends it.
"""
GENERATE = "generate"
SECRET = "Signs the callbacks of its tasks: generate, or whsec_..., or - to read that from standard input"
_SPAN = re.compile(r"(\d{1,5})([hd])")
_UNITS_MS = {"h": HOUR_MS, "d": DAY_MS}
WEIGHT = "Its share of the turns beside other keys that have tasks waiting"
_HEADS = ("id", "label", "role", "state", "weight", "today", "in all", "unfinished", "created", "expires")

app = typer.Typer(no_args_is_help=True, help="Keys: who may ask, and how much. With the first one, nobody gets in without.")


@app.command("create")
def create(
    label: Annotated[str, typer.Option(help="What people call it")] = "",
    role: Annotated[Literal["user", "admin"], typer.Option(help="user: its own tasks; admin: everybody's")] = "user",
    daily: Annotated[int | None, typer.Option(min=1, help="Submits a day; no limit without")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Tasks unfinished at a time; no limit without")] = None,
    weight: Annotated[int, typer.Option(min=1, max=MOST_WEIGHT, help=WEIGHT)] = 1,
    expires: Annotated[str | None, typer.Option(help="After 12h or 30d, or at 2030-01-31 or 2030-01-31T18:00; never without")] = None,
    hook_secret: Annotated[str | None, typer.Option(help=SECRET)] = None,
    config: Config = DEFAULT_CONFIG,
    data: Data = None,
) -> None:
    """Make a key. Its token goes to standard output, and after it a generated secret; what to do with them to standard error."""

    async def work(ring: KeyRing) -> tuple[Key, str]:
        until = None if expires is None else moment(expires, now_ms())
        return await ring.create(label, role, daily, concurrent, until, secret, weight)

    secret = None if hook_secret is None else _secret("create", hook_secret)
    key, token = _on_keys("create", work, config, data)
    typer.echo(f"key {key.id}, role {key.role}" + (f", {label}" if label else ""), err=True)
    typer.echo(token)
    if secret and hook_secret == GENERATE:
        typer.echo(secret)
    typer.echo(HOW.format(id=key.id), err=True)


@app.command("list")
def list_keys(config: Config = DEFAULT_CONFIG, data: Data = None) -> None:
    """All keys, their limits and their use; never their tokens."""
    typer.echo(table(_on_keys("list", KeyRing.list, config, data), now_ms()))


@app.command("revoke")
def revoke(
    id: Annotated[str, typer.Argument(help="The key's id, as `faceswap key list` shows it")],
    config: Config = DEFAULT_CONFIG,
    data: Data = None,
) -> None:
    """End a key for good. Its tasks go on; a running service refuses it within 5 s."""
    if not _on_keys("revoke", lambda ring: ring.revoke(id), config, data):
        fail("key revoke", f"there is no key {id}; faceswap key list shows them")
    typer.echo(f"key {id} is revoked")


@app.command("weight")
def set_weight(
    id: Annotated[str, typer.Argument(help="The key's id, as `faceswap key list` shows it")],
    weight: Annotated[int, typer.Argument(min=1, max=MOST_WEIGHT, help=WEIGHT)],
    config: Config = DEFAULT_CONFIG,
    data: Data = None,
) -> None:
    """Change a key's weight. It holds from the next task that is begun, also for those that wait already."""
    if not _on_keys("weight", lambda ring: ring.set_weight(id, weight), config, data):
        fail("key weight", f"there is no key {id}; faceswap key list shows them")
    typer.echo(f"key {id} has the weight {weight}")


@app.command("hook-secret")
def set_hook_secret(
    id: Annotated[str, typer.Argument(help="The key's id, as `faceswap key list` shows it")],
    secret: Annotated[str, typer.Argument(help=SECRET + "; none: no secret")] = GENERATE,
    keep: Annotated[bool, typer.Option("--keep", help="The one that it has signs beside the new one, until this is said without")] = False,
    config: Config = DEFAULT_CONFIG,
    data: Data = None,
) -> None:
    """What callbacks of a key's tasks are signed with, as standardwebhooks.com says. A running service knows it within 5 s.

    A generated secret goes to standard output, this once.
    """

    async def work(ring: KeyRing) -> bool:
        older = await ring.hook_secret(id) if keep else None
        both = " ".join(part for part in (new, older) if part)
        return await ring.set_hook_secret(id, checked(both) if both else None)

    new = None if secret == "none" else _secret("hook-secret", secret)
    if not _on_keys("hook-secret", work, config, data):
        fail("key hook-secret", f"there is no key {id}; faceswap key list shows them")
    if new and secret == GENERATE:
        typer.echo(new)
    typer.echo(f"callbacks of key {id} are {'signed' if new else 'not signed with a secret of its own'}", err=True)


def _secret(command: str, given: str) -> str:
    """Without a secret in the list of processes: from standard input, or made here."""
    try:
        return new_secret() if given == GENERATE else checked(sys.stdin.readline() if given == "-" else given)
    except ValueError as error:
        fail(f"key {command}", error)


def moment(text: str, now: int) -> int:
    """Milliseconds since the epoch of "12h" or "30d" from now, or of a date by this machine's clock. Raises ValueError."""
    if span := _SPAN.fullmatch(text):
        return now + int(span[1]) * _UNITS_MS[span[2]]
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"not a time: {text!r}; give 12h, 30d, 2030-01-31 or 2030-01-31T18:00") from None


def table(uses: list[KeyUse], now: int) -> str:
    """One line a key; used/limit where there is a limit."""
    if not uses:
        return "There are no keys. faceswap key create makes one."
    return aligned([_HEADS, *(_line(use, now) for use in uses)])


def _line(use: KeyUse, now: int) -> tuple[str, ...]:
    key = use.key
    return (
        key.id,
        key.label or "-",
        key.role,
        key.state(now),
        str(key.weight),
        _of(use.today, key.quota.daily),
        str(use.total),
        _of(use.unfinished, key.quota.concurrent),
        _clock(key.created),
        "never" if key.expires is None else _clock(key.expires),
    )


def _of(used: int, limit: int | None) -> str:
    return str(used) if limit is None else f"{used}/{limit}"


def _clock(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ms // 1000))


def _on_keys(command: str, work: Callable[[KeyRing], Awaitable[T]], config: Path, data: Path | None) -> T:
    return on_database(f"key {command}", lambda database: work(KeyRing(database)), config, data, make=command == "create")
