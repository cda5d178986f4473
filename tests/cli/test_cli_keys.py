"""`faceswap key`, run in this process on a database of its own."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serve_app.cli import app
from serve_app.cli.keys import moment
from serve_app.tasks.database import now_ms, open_database
from serve_app.tasks.keys import Key, KeyRing, Quota

HOUR_MS = 3_600_000


def key(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["key", *arguments, "--data", str(folder)], terminal_width=200)


def found(folder: Path, token: str) -> Key | None:
    async def find() -> Key | None:
        database = open_database(folder / "tasks.db")
        try:
            return await KeyRing(database).find(token)
        finally:
            await database.close()

    return asyncio.run(find())


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    made = key(folder, "create", "--label", "new api", "--daily", "100", "--concurrent", "3", "--expires", "30d")
    assert made.exit_code == 0
    token = made.stdout.strip()
    assert re.fullmatch(r"fs-[A-Za-z0-9_-]{43}", token), "a script can take it from standard output"
    assert token not in made.stderr
    assert "mj-api-secret" in made.stderr
    stored = found(folder, token)
    assert stored is not None
    assert (stored.label, stored.role, stored.quota) == ("new api", "user", Quota(100, 3))
    assert abs((stored.expires or 0) - now_ms() - 30 * 24 * HOUR_MS) < HOUR_MS
    assert folder.stat().st_mode & 0o077 == 0

    admin = key(folder, "create", "--role", "admin")
    listed = key(folder, "list")
    assert listed.exit_code == 0
    head, first, second = listed.stdout.splitlines()
    assert head.split()[:4] == ["id", "label", "role", "state"]
    assert first.split()[:7] == [stored.id, "new", "api", "user", "active", "1", "0/100"]
    assert "0/3" in first
    assert second.split()[1:6] == ["-", "admin", "active", "1", "0"]
    assert token not in listed.output
    assert admin.stdout.strip() not in listed.output

    assert key(folder, "revoke", stored.id).exit_code == 0
    revoked = found(folder, token)
    assert revoked is not None
    assert revoked.state(now_ms()) == "revoked"
    assert "revoked" in key(folder, "list").stdout.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["revoke", "nope"], "there is no key nope"),
        (["weight", "nope", "3"], "there is no key nope"),
        (["create", "--expires", "tomorrow"], "give 12h, 30d"),
        (["create", "--expires", "2001-01-01"], "expired already"),
        (["create", "--label", "x" * 201], "200 characters"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    key(tmp_path, "create")
    result = key(tmp_path, *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_a_key_has_a_weight_that_can_be_changed(tmp_path: Path) -> None:
    token = key(tmp_path, "create", "--weight", "3").stdout.strip()
    made = found(tmp_path, token)
    assert made is not None
    assert made.weight == 3
    assert key(tmp_path, "weight", made.id, "20").stdout == f"key {made.id} has the weight 20\n"
    changed = found(tmp_path, token)
    assert changed is not None
    assert changed.weight == 20
    assert "  20  " in key(tmp_path, "list").stdout


@pytest.mark.parametrize(
    "arguments",
    [["create", "--role", "root"], ["create", "--daily", "0"], ["create", "--weight", "0"], ["weight", "a", "1001"], ["revoke"]],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert key(tmp_path, *arguments).exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["list"], ["revoke", "a"]])
def test_a_folder_without_a_service_is_not_taken_for_one(tmp_path: Path, arguments: list[str]) -> None:
    result = key(tmp_path, *arguments)
    assert result.exit_code == 1
    assert str(tmp_path / "tasks.db") in result.stderr
    assert not list(tmp_path.iterdir())


def test_times() -> None:
    assert moment("12h", 5) == 5 + 12 * HOUR_MS
    assert moment("30d", 5) == 5 + 30 * 24 * HOUR_MS
    assert moment("2030-01-31T18:00", 0) - moment("2030-01-31", 0) == 18 * HOUR_MS
    for wrong in ("", "30", "d", "-1d", "1w", "31.1.2030", "2030-13-01"):
        with pytest.raises(ValueError, match="not a time"):
            moment(wrong, 0)
