"""The tables as they were when migrations began, whatever there is of them already.

Releases before this one made tables without a record of it, so their files may lack tables, columns and indexes.
A migration is a photograph: nothing here follows what schema.py becomes.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Connection, Index, Integer, MetaData, Table, and_, inspect
from sqlalchemy.schema import CreateColumn

from serve_app.tasks.words import Words

revision = "0001"
down_revision = None

metadata = MetaData()

tasks = Table(
    "tasks",
    metadata,
    Column("id", Words(16), primary_key=True),
    Column("status", Words(16), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("mode", Words(32)),
    Column("state", Words()),
    Column("notify_hook", Words()),
    Column("instance_id", Words()),
    Column("base_url", Words(), nullable=False),
    Column("submit_time", BigInteger, nullable=False),
    Column("start_time", BigInteger),
    Column("finish_time", BigInteger),
    Column("fail_reason", Words()),
    Column("result", Words()),
    Column("result_name", Words()),
    Column("properties", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_until", BigInteger),
    Column("lease_owner", Words()),
    Column("priority", Integer, nullable=False),
    Column("owner", Words(64), nullable=False, server_default=""),
    Column("idempotency_key", Words(255)),
    Column("fingerprint", Words(64)),
)

# A row waits, or is leased, or has ended; the first two are what every query of the hot path looks for, so the
# finished rows, nearly all of the table, are in neither index.
waiting = and_(tasks.c.finish_time.is_(None), tasks.c.lease_until.is_(None))
leased = tasks.c.lease_until.is_not(None)
Index(
    "tasks_waiting",
    tasks.c.priority.desc(),
    tasks.c.submit_time,
    tasks.c.id,
    sqlite_where=waiting,
    postgresql_where=waiting,
)
Index("tasks_leased", tasks.c.lease_until, sqlite_where=leased, postgresql_where=leased)

# Ids begin with the time of the submit, so their order is the order of submission.
Index("tasks_owner", tasks.c.owner, tasks.c.id)
unfinished = tasks.c.finish_time.is_(None)
Index("tasks_unfinished", tasks.c.owner, tasks.c.id, sqlite_where=unfinished, postgresql_where=unfinished)
repeatable = tasks.c.idempotency_key.is_not(None)
Index(
    "tasks_idempotency",
    tasks.c.owner,
    tasks.c.idempotency_key,
    unique=True,
    sqlite_where=repeatable,
    postgresql_where=repeatable,
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("task_id", Words(16), primary_key=True),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("hook", Words(), nullable=False),
    Column("host", Words(), nullable=False),
    Column("task", JSON, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("due", BigInteger),
    Column("trying", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("error", Words()),
)
pending = callbacks.c.due.is_not(None)
Index("callbacks_due", callbacks.c.due, sqlite_where=pending, postgresql_where=pending)

keys = Table(
    "keys",
    metadata,
    Column("id", Words(64), primary_key=True),
    Column("digest", Words(64), nullable=False, unique=True),
    Column("label", Words(), nullable=False),
    Column("role", Words(16), nullable=False),
    Column("daily", Integer),  # null: no limit
    Column("concurrent", Integer),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("revoked", BigInteger),
)

usage = Table(
    "usage",
    metadata,
    Column("key_id", Words(64), primary_key=True),
    Column("day", Words(10), primary_key=True),
    Column("submits", Integer, nullable=False),
)


def upgrade() -> None:
    connection = op.get_bind()
    _add_missing_columns(connection)
    metadata.create_all(connection)
    for table in metadata.sorted_tables:
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _add_missing_columns(connection: Connection) -> None:
    found = inspect(connection)
    for table in (metadata.tables[name] for name in found.get_table_names() if name in metadata.tables):
        there = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {CreateColumn(column).compile(connection)}")
