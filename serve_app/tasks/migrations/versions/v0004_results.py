"""Which results are old enough to go, without a look at all those that went before."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"

WITH_RESULT = text("result IS NOT NULL")


def upgrade() -> None:
    op.create_index("tasks_with_result", "tasks", ["finish_time", "id"], sqlite_where=WITH_RESULT, postgresql_where=WITH_RESULT)
