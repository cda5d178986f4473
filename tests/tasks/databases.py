"""Databases for tests, of either kind."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import ClassVar, Protocol

from serve_app.tasks.migrate import migrate
from tests.postgres import Postgres


class Databases(Protocol):
    def make(self, *, empty: bool = False) -> str | Path:
        """A new database, with this release's tables or without any."""

    def drop(self) -> None:
        """Everything that was made."""


class SqliteDatabases:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def make(self, *, empty: bool = False) -> Path:
        number = next(self._numbers)
        file = self._folder / (f"tasks{number}.db" if number else "tasks.db")
        if not empty:
            migrate(file)
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
