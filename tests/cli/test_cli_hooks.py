"""`faceswap hooks` and what `faceswap key` says of hook secrets, run in this process on a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner, Result

from serve_app.cli import app
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.hook_secret import checked, new_secret
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.outbox import Outbox, Outcome, Verdict
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task
from tests.tasks.common import walk
from tests.tasks.databases import migrated

T = TypeVar("T")

URL = "https://user:pa55@hook.example:8443/s3cret?token=t0ken"


def faceswap(folder: Path, *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments, "--data", str(folder)], input=text, terminal_width=200)


def on_database(folder: Path, work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        database = open_database(folder / "tasks.db")
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


@pytest.fixture
def buried(tmp_path: Path) -> Task:
    """A task whose hook was given up, and another whose hook is owed something."""
    migrated(tmp_path / "tasks.db")

    async def work(database: Database) -> Task:
        outbox, store = Outbox(database), TaskStore(database, BlobStore(tmp_path / "blobs"))
        task = await walk(store, URL, steps=1)
        await outbox.settle([Outcome(callback, Verdict.DEAD, error="HTTP 410") for callback in await outbox.claim_due(5, 30)])
        await walk(store, "http://other.example/", steps=1)
        return task

    return on_database(tmp_path, work)


def test_what_is_owed_is_listed_and_sent_again(tmp_path: Path, buried: Task) -> None:
    listed = faceswap(tmp_path, "hooks", "list")
    assert listed.exit_code == 0
    head, dead, pending = listed.stdout.splitlines()
    assert head.split()[:4] == ["task", "says", "state", "host"]
    assert dead.split()[:4] == [buried.id, "SUBMITTED", "dead", "hook.example:8443"]
    assert dead.endswith("HTTP 410")
    assert pending.split()[2:4] == ["pending", "other.example"]
    assert "1 pending, the oldest for" in listed.stderr
    assert "1 given up" in listed.stderr
    shown = faceswap(tmp_path, "hooks", "show", buried.id)
    assert shown.stdout.splitlines()[1].split() == dead.split()
    assert not any(secret in listed.output + shown.output for secret in ("user", "pa55", "s3cret", "t0ken"))
    for options, count in ((("--dead",), 1), (("--pending",), 1), (("--host", "nope"), 0), (("--dead", "--pending"), 2)):
        lines = faceswap(tmp_path, "hooks", "list", *options).stdout.splitlines()
        assert len(lines) == (1 + count if count else 1)

    assert "1 to send again" in faceswap(tmp_path, "hooks", "resend", buried.id).stdout
    assert faceswap(tmp_path, "hooks", "list", "--dead").stdout == "Nothing.\n"
    assert "0 to send again" in faceswap(tmp_path, "hooks", "resend", "--dead").stdout
    assert "1 to send again" in faceswap(tmp_path, "hooks", "resend", "--host", "other.example").stdout


@pytest.mark.parametrize(("arguments", "said"), [(["show", "nope"], "nothing is owed"), (["resend", "nope"], "there is no task nope")])
def test_what_is_not_there_is_said_in_one_line(tmp_path: Path, buried: Task, arguments: list[str], said: str) -> None:
    result = faceswap(tmp_path, "hooks", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["resend"], ["resend", "1", "--dead"], ["resend", "1", "--host", "a"], ["list", "--limit", "0"]])
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert faceswap(tmp_path, "hooks", *arguments).exit_code == 2


def test_a_folder_without_a_service_is_not_taken_for_one(tmp_path: Path) -> None:
    for arguments in (["list"], ["show", "1"], ["resend", "--dead"]):
        result = faceswap(tmp_path, "hooks", *arguments)
        assert result.exit_code == 1
        assert str(tmp_path / "tasks.db") in result.stderr
    assert not list(tmp_path.iterdir())


def secret_of(folder: Path, id: str) -> str | None:
    return on_database(folder, lambda database: KeyRing(database).hook_secret(id))


def key_of(folder: Path, token: str) -> str:
    key = on_database(folder, lambda database: KeyRing(database).find(token))
    assert key is not None
    return key.id


def test_a_hook_secret_is_made_once_and_shown_once(tmp_path: Path) -> None:
    made = faceswap(tmp_path, "key", "create", "--hook-secret", "generate")
    token, secret = made.stdout.split()
    assert checked(secret) == secret
    id = key_of(tmp_path, token)
    assert secret_of(tmp_path, id) == secret
    assert secret not in made.stderr + faceswap(tmp_path, "key", "list").output


def test_a_hook_secret_is_changed_beside_the_old_one_and_taken_away(tmp_path: Path) -> None:
    older, newer = new_secret(), new_secret()
    made = faceswap(tmp_path, "key", "create", "--hook-secret", "-", text=older + "\n")
    assert older not in made.output, "who brought it knows it"
    id = key_of(tmp_path, made.stdout.strip())
    changed = faceswap(tmp_path, "key", "hook-secret", id, newer, "--keep")
    assert changed.exit_code == 0
    assert newer not in changed.output
    assert secret_of(tmp_path, id) == f"{newer} {older}"
    generated = faceswap(tmp_path, "key", "hook-secret", id).stdout.strip()
    assert secret_of(tmp_path, id) == generated
    assert faceswap(tmp_path, "key", "hook-secret", id, "none").exit_code == 0
    assert secret_of(tmp_path, id) is None


@pytest.mark.parametrize(
    "arguments", [["create", "--hook-secret", "hunter2"], ["hook-secret", "nope"], ["hook-secret", "nope", "whsec_hunter2"]]
)
def test_a_secret_that_cannot_be_is_not_quoted(tmp_path: Path, arguments: list[str]) -> None:
    faceswap(tmp_path, "key", "create")
    result = faceswap(tmp_path, "key", *arguments)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.output
    assert result.stdout == ""
