"""By when a task has to end.

The column stays empty for rows that are there, and for those that replicas of the release before still add while they are replaced.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, text

revision = "0003"
down_revision = "0002"

UNFINISHED = text("finish_time IS NULL")


def upgrade() -> None:
    op.add_column("tasks", Column("deadline", BigInteger))
    op.create_index("tasks_overdue", "tasks", ["deadline", "submit_time"], sqlite_where=UNFINISHED, postgresql_where=UNFINISHED)
