"""A submit that repeats an earlier one, as its idempotency key says, gets the earlier one's task."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from serve_app.tasks.query import find
from serve_app.tasks.schema import tasks
from serve_app.tasks.task import NewTask, Task

_FIRST = select(tasks.c.id, tasks.c.fingerprint).where(
    tasks.c.owner == bindparam("of_owner"),
    tasks.c.idempotency_key == bindparam("key"),
)


class IdempotencyMismatch(Exception):
    """The idempotency key was used before, for another request."""


def first(connection: Connection, new: NewTask) -> Task | None:
    """The task that this submit repeats. Raises IdempotencyMismatch."""
    if new.idempotency_key is None or new.fresh:
        return None
    row = connection.execute(_FIRST, {"of_owner": new.owner, "key": new.idempotency_key}).one_or_none()
    if row is None:
        return None
    if row.fingerprint != new.fingerprint:
        raise IdempotencyMismatch("this idempotency key belongs to another request")
    return find(connection, [row.id])[row.id]
