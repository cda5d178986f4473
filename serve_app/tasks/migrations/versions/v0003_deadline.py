"""By when a task has to end.

The column stays empty for tasks that have ended, and may be so for those that replicas of the release before add while they are replaced.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, text

revision = "0003"
down_revision = "0002"

LIMITED = text("finish_time IS NULL AND deadline IS NOT NULL")


def upgrade() -> None:
    op.add_column("tasks", Column("deadline", BigInteger))
    op.execute("UPDATE tasks SET deadline = submit_time + 280000 WHERE finish_time IS NULL")
    op.create_index("tasks_overdue", "tasks", ["deadline"], sqlite_where=LIMITED, postgresql_where=LIMITED)
