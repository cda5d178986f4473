"""`faceswap store migrate`, run in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serve_app.cli import app
from tests.postgres import PASSWORD, Postgres


@pytest.fixture
def target(postgres: Postgres) -> Iterator[str]:
    url = postgres.create()
    yield url
    postgres.drop(url)


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, [*arguments], env=environment, terminal_width=200)


def test_keys_move_and_serve_on(tmp_path: Path, target: str) -> None:
    folder = str(tmp_path / "data")
    assert run("key", "create", "--label", "mine", "--data", folder).exit_code == 0
    moved = run("store", "migrate", "--data", folder, "--to", target)
    assert moved.exit_code == 0, moved.output
    assert "1 keys, 0 usage, 0 tasks, 0 callbacks" in moved.stdout
    assert "100%" in moved.stderr
    assert "FACESWAP_DATABASE_URL" in moved.stderr
    assert PASSWORD not in moved.output
    assert "***" in moved.stdout
    listed = run("key", "list", "--data", str(tmp_path / "elsewhere"), FACESWAP_DATABASE_URL=target)
    assert listed.exit_code == 0
    assert "mine" in listed.stdout
    assert not (tmp_path / "elsewhere").exists()

    again = run("store", "migrate", "--data", folder, FACESWAP_DATABASE_URL=target)
    assert again.exit_code == 1
    assert "has rows already (1 keys)" in again.stderr


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("sqlite:///a.db", "is a SQLite file"),
        ("mysql://u:hidden@h/d", "not a database"),
        ("postgresql://u:hidden@127.0.0.1:1/d", "Refused"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tmp_path: Path, to: str, said: str) -> None:
    run("key", "create", "--data", str(tmp_path))
    result = run("store", "migrate", "--data", str(tmp_path), "--to", to)
    assert result.exit_code == 1
    assert said in result.stderr.splitlines()[-1]
    assert "hidden" not in result.output


def test_where_there_is_nothing_to_move(tmp_path: Path, target: str) -> None:
    result = run("store", "migrate", "--data", str(tmp_path), "--to", target)
    assert result.exit_code == 1
    assert str(tmp_path / "tasks.db") in result.stderr
    assert not list(tmp_path.iterdir())
