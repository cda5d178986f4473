"""Runs a command's work on the database of the service that a config file starts, also while that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from serve_app.cli.options import fail, settings_from
from serve_app.secrets import Secrets, database_of
from serve_app.tasks.database import Database, DatabaseUnavailable, is_sqlite, missing, open_database, shown
from serve_app.tasks.migrate import DatabaseTooNew, migrate

T = TypeVar("T")


def on_database(command: str, work: Callable[[Database], Awaitable[T]], config: Path, data: Path | None, *, make: bool = False) -> T:
    """Brings it to this release's tables. make: one that is not there yet is made; otherwise the command fails."""

    async def opened() -> T:
        database = open_database(where)
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        settings = settings_from(config, data)
        where = database_of(settings, Secrets())
        if not make and missing(where):
            fail(command, f"there is no {shown(where)}; --data or --config says where the service keeps its tasks")
        if is_sqlite(where):
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        migrate(where)
        return asyncio.run(opened())
    except (ValueError, OSError, DatabaseUnavailable, DatabaseTooNew) as error:
        fail(command, error)
