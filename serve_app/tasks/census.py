"""How many tasks there are of which kind, for those who watch the service. Costs the same however many have ended."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from serve_app.tasks.query import count_leased, count_unfinished
from serve_app.tasks.schema import tasks, waiting
from serve_app.tasks.tallies import count_finished
from serve_app.tasks.task import Status

_OLDEST = select(func.min(tasks.c.submit_time)).where(waiting)  # by the index of what waits


class Census(NamedTuple):
    """oldest: when the oldest of those that wait was submitted, milliseconds since the epoch; None where none waits."""

    waiting: int
    working: int
    oldest: int | None
    succeeded: int
    failed: int


def census(connection: Connection) -> Census:
    unfinished, working = count_unfinished(connection), count_leased(connection)
    oldest = connection.execute(_OLDEST).scalar()
    succeeded, failed = (count_finished(connection, None, [status]) for status in (Status.SUCCESS, Status.FAILURE))
    return Census(unfinished - working, working, oldest, succeeded, failed)
