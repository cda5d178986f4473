"""Pages of finished tasks by their indexes, and their number from tallies that triggers keep."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, text

from serve_app.tasks.words import Words

revision = "0002"
down_revision = "0001"

INDEXES = {
    "tasks_by_status": ["status", "id"],
    "tasks_by_end": ["finish_time", "id"],
    "tasks_by_status_end": ["status", "finish_time", "id"],
    "tasks_by_owner_status": ["owner", "status", "id"],
    "tasks_by_owner_end": ["owner", "finish_time", "id"],
    "tasks_by_owner_status_end": ["owner", "status", "finish_time", "id"],
}
FINISHED = text("finish_time IS NOT NULL")
ADD = ("add", "INSERT", "NEW.finish_time IS NOT NULL", "NEW", 1)
END = ("end", "UPDATE OF finish_time", "OLD.finish_time IS NULL AND NEW.finish_time IS NOT NULL", "NEW", 1)
REMOVE = ("remove", "DELETE", "OLD.finish_time IS NOT NULL", "OLD", -1)


def upgrade() -> None:
    for name, columns in INDEXES.items():
        op.create_index(name, "tasks", columns, sqlite_where=FINISHED, postgresql_where=FINISHED, if_not_exists=True)
    op.create_table(
        "tallies",
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("owner", Words(64), nullable=False),
        Column("status", Words(16), nullable=False),
        Column("number", BigInteger, nullable=False),
    )
    op.create_index("tallies_status", "tallies", ["status", "owner", "number"])
    op.execute(
        "INSERT INTO tallies (owner, status, number) "
        "SELECT owner, status, count(*) FROM tasks WHERE finish_time IS NOT NULL GROUP BY owner, status"
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    if not sqlite:
        op.execute(
            "CREATE FUNCTION tasks_tally() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
            "IF TG_OP = 'DELETE' THEN INSERT INTO tallies (owner, status, number) VALUES (OLD.owner, OLD.status, -1);\n"
            "ELSE INSERT INTO tallies (owner, status, number) VALUES (NEW.owner, NEW.status, 1); END IF;\n"
            "RETURN NULL; END $$"
        )
    for name, when, condition, row, number in (ADD, END, REMOVE):
        op.execute(
            f"CREATE TRIGGER tasks_tally_{name} AFTER {when} ON tasks WHEN {condition}\n"
            f"BEGIN INSERT INTO tallies (owner, status, number) VALUES ({row}.owner, {row}.status, {number}); END"
            if sqlite
            else f"CREATE TRIGGER tasks_tally_{name} AFTER {when} ON tasks FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION tasks_tally()"
        )
