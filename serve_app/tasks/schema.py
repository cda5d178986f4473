"""The tables: tasks, callbacks (the outbox), keys, their usage and their turns. Times are milliseconds since the epoch.

A change here needs a migration as well: see migrations/.
"""

from __future__ import annotations

from sqlalchemy import DDL, JSON, BigInteger, Column, Double, Index, Integer, MetaData, Table, and_, event

from serve_app.tasks.triggers import TRIGGERS
from serve_app.tasks.words import Words

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
    Column("owner", Words(64), nullable=False, server_default=""),  # id of the key that it was submitted with
    Column("idempotency_key", Words(255)),
    Column("fingerprint", Words(64)),
    Column("deadline", BigInteger),  # null where a release that knew none added the row or ended it
    Column("hook_error", Words()),  # why its hook was given up
    Column("options", JSON(none_as_null=True)),
    Column("traceparent", Words(55)),  # the span that it was submitted in
)

# A row waits, or is leased, or has ended; the first two are what every query of the hot path looks for, so the
# finished rows, nearly all of the table, are in neither index.
waiting = and_(tasks.c.finish_time.is_(None), tasks.c.lease_until.is_(None))
leased = tasks.c.lease_until.is_not(None)
Index("tasks_turns", tasks.c.priority, tasks.c.owner, tasks.c.id, sqlite_where=waiting, postgresql_where=waiting)
Index("tasks_leased", tasks.c.lease_until, sqlite_where=leased, postgresql_where=leased)

# Ids begin with the time of the submit, so their order is the order of submission.
Index("tasks_owner", tasks.c.owner, tasks.c.id)
unfinished = tasks.c.finish_time.is_(None)
Index("tasks_unfinished", tasks.c.owner, tasks.c.id, sqlite_where=unfinished, postgresql_where=unfinished)
# Without its second half, SQLite would count what waits by this index, which does not say what is leased.
limited = and_(unfinished, tasks.c.deadline.is_not(None))
Index("tasks_overdue", tasks.c.deadline, sqlite_where=limited, postgresql_where=limited)

# Pages of finished tasks: by what they are filtered and sorted by. A task enters these once, with its end.
finished = tasks.c.finish_time.is_not(None)
for _name, _columns in (
    ("tasks_by_status", (tasks.c.status, tasks.c.id)),
    ("tasks_by_end", (tasks.c.finish_time, tasks.c.id)),
    ("tasks_by_status_end", (tasks.c.status, tasks.c.finish_time, tasks.c.id)),
    ("tasks_by_owner_status", (tasks.c.owner, tasks.c.status, tasks.c.id)),
    ("tasks_by_owner_end", (tasks.c.owner, tasks.c.finish_time, tasks.c.id)),
    ("tasks_by_owner_status_end", (tasks.c.owner, tasks.c.status, tasks.c.finish_time, tasks.c.id)),
):
    Index(_name, *_columns, sqlite_where=finished, postgresql_where=finished)
with_result = tasks.c.result.is_not(None)  # until it is not kept any more
Index("tasks_with_result", tasks.c.finish_time, tasks.c.id, sqlite_where=with_result, postgresql_where=with_result)

repeatable = tasks.c.idempotency_key.is_not(None)
Index(
    "tasks_idempotency",
    tasks.c.owner,
    tasks.c.idempotency_key,
    unique=True,
    sqlite_where=repeatable,
    postgresql_where=repeatable,
)

# How many finished tasks an owner has of each status: the sum of `number`. Triggers add a row for each that comes or goes, in the same
# commit, so that nobody waits for anybody else's count; see tallies.py.
tallies = Table(
    "tallies",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("owner", Words(64), nullable=False),
    Column("status", Words(16), nullable=False),
    Column("number", BigInteger, nullable=False),
)
Index("tallies_status", tallies.c.status, tallies.c.owner, tallies.c.number)
for _dialect, _statements in TRIGGERS.items():
    for _statement in _statements:
        # SQLAlchemy has no annotation there.
        event.listen(metadata, "after_create", DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]

callbacks = Table(
    "callbacks",
    metadata,
    Column("task_id", Words(16), primary_key=True),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("hook", Words(), nullable=False),
    Column("host", Words(), nullable=False),
    Column("task", JSON, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("due", BigInteger),  # when to try next, or when the try under way counts as lost; null: given up
    Column("trying", Integer, nullable=False),  # 1 while a courier has it
    Column("attempt", Integer, nullable=False),
    Column("error", Words()),
    Column("owner", Words(64), nullable=False, server_default=""),
)
pending = callbacks.c.due.is_not(None)
Index("callbacks_due", callbacks.c.due, sqlite_where=pending, postgresql_where=pending)
dead = callbacks.c.due.is_(None)
Index("callbacks_dead", callbacks.c.created, sqlite_where=dead, postgresql_where=dead)

keys = Table(
    "keys",
    metadata,
    Column("id", Words(64), primary_key=True),
    Column("digest", Words(64), nullable=False, unique=True),  # SHA-256 of the token, in hex; the token itself is nowhere
    Column("label", Words(), nullable=False),
    Column("role", Words(16), nullable=False),
    Column("daily", Integer),  # null: no limit
    Column("concurrent", Integer),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("revoked", BigInteger),
    Column("hook_secret", Words()),  # what its callbacks are signed with; several, newest first, are told apart by blanks
    Column("weight", Integer, nullable=False, server_default="1"),
)

usage = Table(
    "usage",
    metadata,
    Column("key_id", Words(64), primary_key=True),
    Column("day", Words(10), primary_key=True),  # YYYY-MM-DD by the server's clock
    Column("submits", Integer, nullable=False),
)

# Where the accounts of keys stand, in each class of priority; see turns.py.
turns = Table(
    "turns",
    metadata,
    Column("priority", Integer, primary_key=True, autoincrement=False),
    Column("owner", Words(64), primary_key=True),
    Column("last", Double, nullable=False),  # where its last claim began
    Column("next", Double, nullable=False),  # where its next one does, if not later
)
Index("turns_last", turns.c.priority, turns.c.last)
