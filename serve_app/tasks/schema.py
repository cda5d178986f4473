"""The tables: tasks, and callbacks (the outbox). Times are milliseconds since the epoch."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, MetaData, String, Table, Text, and_

metadata = MetaData()

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("status", String(16), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("mode", String(32)),
    Column("state", Text),
    Column("notify_hook", Text),
    Column("instance_id", Text),
    Column("base_url", Text, nullable=False),
    Column("submit_time", BigInteger, nullable=False),
    Column("start_time", BigInteger),
    Column("finish_time", BigInteger),
    Column("fail_reason", Text),
    Column("result", Text),
    Column("result_name", Text),
    Column("properties", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_until", BigInteger),
    Column("lease_owner", Text),
    Column("priority", Integer, nullable=False),
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

callbacks = Table(
    "callbacks",
    metadata,
    Column("task_id", String(16), primary_key=True),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("hook", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("task", JSON, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("due", BigInteger),  # when to try next, or when the try under way counts as lost; null: given up
    Column("trying", Integer, nullable=False),  # 1 while a courier has it
    Column("attempt", Integer, nullable=False),
    Column("error", Text),
)
pending = callbacks.c.due.is_not(None)
Index("callbacks_due", callbacks.c.due, sqlite_where=pending, postgresql_where=pending)
