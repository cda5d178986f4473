"""How many finished tasks there are, without counting them: the longer a service runs, the more they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from sqlalchemy import Connection, delete, func, insert, select

from serve_app.tasks.schema import tallies
from serve_app.tasks.task import Status

_MOST_ROWS = 500  # more than there need be, before they are worth adding up
_AT_ONCE = 20_000
_COUNT_ROWS = select(func.count()).select_from(tallies)
_COUNT_SUMS = select(func.count()).select_from(select(tallies.c.owner).group_by(tallies.c.owner, tallies.c.status).subquery())
_INSERT = insert(tallies)
_TAKE = (
    delete(tallies)
    .where(tallies.c.id.in_(select(tallies.c.id).order_by(tallies.c.id).limit(_AT_ONCE).with_for_update(skip_locked=True)))
    .returning(tallies.c.owner, tallies.c.status, tallies.c.number)
)


def count_finished(connection: Connection, owner: str | None, statuses: Collection[Status]) -> int:
    """Finished tasks of an owner, or everybody's, that ended in one of these."""
    wanted = select(func.sum(tallies.c.number)).where(tallies.c.status.in_(statuses))
    return int(connection.execute(wanted if owner is None else wanted.where(tallies.c.owner == owner)).scalar() or 0)


def many_rows(connection: Connection) -> bool:
    rows = connection.execute(_COUNT_ROWS).scalar_one()
    return rows > _MOST_ROWS and rows > _MOST_ROWS + connection.execute(_COUNT_SUMS).scalar_one()


def add_up(connection: Connection) -> None:
    """Many rows become one for each owner and status. Rows that another process adds up are passed over."""
    sums: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(_TAKE):
        sums[row.owner, row.status] += row.number
    kept = [{"owner": owner, "status": status, "number": number} for (owner, status), number in sums.items() if number]
    if kept:
        connection.execute(_INSERT, kept)
