"""Why a task's hook was given up, whose hook it is, and what a key's callbacks are signed with.

Replicas of the release before go on adding callbacks without an owner while they are replaced: to fairness between keys those are
nobody's, and their signatures are made with the key of their task all the same.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, text

from serve_app.tasks.words import Words

revision = "0005"
down_revision = "0004"

DEAD = text("due IS NULL")


def upgrade() -> None:
    op.add_column("tasks", Column("hook_error", Words()))
    op.add_column("callbacks", Column("owner", Words(64), nullable=False, server_default=""))
    op.add_column("keys", Column("hook_secret", Words()))
    op.create_index("callbacks_dead", "callbacks", ["created"], sqlite_where=DEAD, postgresql_where=DEAD)
