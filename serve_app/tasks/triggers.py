"""What the database does by itself when a finished task comes or goes: a row in `tallies`. In each one's own language."""

from __future__ import annotations

_SQLITE = """
CREATE TRIGGER tasks_tally_{name} AFTER {when} ON tasks WHEN {condition}
BEGIN INSERT INTO tallies (owner, status, number) VALUES ({row}.owner, {row}.status, {number}); END
"""
_POSTGRESQL_FUNCTION = """
CREATE FUNCTION tasks_tally() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF TG_OP = 'DELETE' THEN INSERT INTO tallies (owner, status, number) VALUES (OLD.owner, OLD.status, -1);
ELSE INSERT INTO tallies (owner, status, number) VALUES (NEW.owner, NEW.status, 1); END IF;
RETURN NULL; END $$
"""
_POSTGRESQL = "CREATE TRIGGER tasks_tally_{name} AFTER {when} ON tasks FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION tasks_tally()"

_EVENTS = (
    {"name": "add", "when": "INSERT", "condition": "NEW.finish_time IS NOT NULL", "row": "NEW", "number": "1"},
    {
        "name": "end",
        "when": "UPDATE OF finish_time",
        "condition": "OLD.finish_time IS NULL AND NEW.finish_time IS NOT NULL",
        "row": "NEW",
        "number": "1",
    },
    {"name": "remove", "when": "DELETE", "condition": "OLD.finish_time IS NOT NULL", "row": "OLD", "number": "-1"},
)

TRIGGERS = {
    "sqlite": [_SQLITE.format(**event).strip() for event in _EVENTS],
    "postgresql": [_POSTGRESQL_FUNCTION.strip(), *(_POSTGRESQL.format(**event) for event in _EVENTS)],
}
