"""Turns of keys, and their weights.

Replicas of the release before go on claiming by priority and age while they are replaced: they take no turns, and sort what waits
without the index that goes here.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, Integer, text

from serve_app.tasks.words import Words

revision = "0008"
down_revision = "0007"

WAITING = text("finish_time IS NULL AND lease_until IS NULL")


def upgrade() -> None:
    op.add_column("keys", Column("weight", Integer, nullable=False, server_default="1"))
    op.create_table(
        "turns",
        Column("priority", Integer, primary_key=True, autoincrement=False),
        Column("owner", Words(64), primary_key=True),
        Column("last", Double, nullable=False),
        Column("next", Double, nullable=False),
    )
    op.create_index("turns_last", "turns", ["priority", "last"])
    op.create_index("tasks_turns", "tasks", ["priority", "owner", "id"], sqlite_where=WAITING, postgresql_where=WAITING)
    op.drop_index("tasks_waiting", "tasks")
