"""Brings a database to this release's tables. One process does it, the others wait for it and find it done."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from serve_app.tasks import postgres, sqlite
from serve_app.tasks.database import DatabaseUnavailable, address, is_sqlite

_FOLDER = Path(__file__).resolve().parent / "migrations"
_LOCK = 0x66616365  # any number, but always the same
_WAIT_S = 120.0  # for another process that is at it
_OLDEST = 150_000


class DatabaseTooNew(Exception):
    """The database is that of a later release; this one would damage it."""


def migrate(where: str | Path) -> None:
    """Make the tables, or bring those of an older release up to date; nothing to do is quick.

    In one transaction, under a lock that all processes share: it is done once, wholly or not at all. May be called on any thread, also
    on that of an event loop, which it holds up. Raises ValueError, DatabaseUnavailable, and DatabaseTooNew.
    """
    url = address(where)
    if is_sqlite(url):
        _migrate_sqlite(Path(str(url.database)))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="migrate") as thread:
        thread.submit(lambda: asyncio.run(_migrate_postgres(str(url.render_as_string(hide_password=False))))).result()


def _migrate_sqlite(path: Path) -> None:
    engine = sqlite.sqlite_engine(path).execution_options(begin=sqlite.WRITE)  # which is the lock
    try:
        sqlite.transact(engine, _upgrade)
    finally:
        engine.dispose()


async def _migrate_postgres(where: str) -> None:
    engine = postgres.postgres_engine(address(where), connections=1, wait_s=_WAIT_S, statement_s=_WAIT_S)
    try:
        await postgres.transact(engine, _upgrade_locked)
    finally:
        await engine.dispose()


def _upgrade_locked(connection: Connection) -> None:
    version = int(connection.execute(text("select current_setting('server_version_num')")).scalar_one())
    if version < _OLDEST:
        raise DatabaseUnavailable(f"PostgreSQL {version // 10_000} is too old; this service needs {_OLDEST // 10_000} or later")
    connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK}).close()
    _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    _refuse_newer(connection, {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()})
    command.upgrade(config, "head")


def _refuse_newer(connection: Connection, known: set[str]) -> None:
    if connection.dialect.has_table(connection, "alembic_version"):
        for revision in connection.execute(text("select version_num from alembic_version")).scalars():
            if revision not in known:
                raise DatabaseTooNew(f"the database was brought to revision {revision} by a later release of this service")
