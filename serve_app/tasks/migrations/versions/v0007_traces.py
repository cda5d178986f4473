"""The span that a task was submitted in. Null for tasks outside of traces; the release before neither reads nor writes it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from serve_app.tasks.words import Words

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("tasks", Column("traceparent", Words(55)))
