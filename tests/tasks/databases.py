"""Databases for tests, of either kind."""

from __future__ import annotations

import itertools
import tempfile
from functools import cache
from pathlib import Path
from typing import ClassVar, Protocol

from serve_app.tasks.migrate import migrate
from tests.postgres import Postgres


class Databases(Protocol):
    def make(self, *, empty: bool = False) -> str | Path:
        """A new database, with this release's tables or without any."""

    def drop(self) -> None:
        """Everything that was made."""


def migrated(where: str | Path) -> str | Path:
    """The same database, with this release's tables. A new SQLite file is a copy of one that is migrated once, for that takes 0.1 s."""
    if isinstance(where, Path) and not where.exists():
        where.write_bytes(_template())
    else:
        migrate(where)
    return where


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        migrate(file := Path(folder) / "tasks.db")
        assert list(Path(folder).iterdir()) == [file], "all of it is in one file"
        return file.read_bytes()


class SqliteDatabases:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def make(self, *, empty: bool = False) -> Path:
        number = next(self._numbers)
        file = self._folder / (f"tasks{number}.db" if number else "tasks.db")
        if not empty:
            migrated(file)
        return file

    def drop(self) -> None:
        """They go with their folder."""


class PostgresDatabases:
    """Copies of one that is migrated once: 50 ms each."""

    _templates: ClassVar[dict[Postgres, str]] = {}

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._made: list[str] = []

    def make(self, *, empty: bool = False) -> str:
        self._made.append(self._server.create() if empty else self._server.create(self._template()))
        return self._made[-1]

    def drop(self) -> None:
        for url in self._made:
            self._server.drop(url)

    def _template(self) -> str:
        if self._server not in self._templates:
            migrate(url := self._server.create())
            self._templates[self._server] = url.rpartition("/")[2]
        return self._templates[self._server]
