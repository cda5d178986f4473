"""What is asked about tasks: by id, in lists, in pages. Nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, exists, func, literal, select, union_all

from serve_app.tasks.rows import COLUMNS, deadline, to_task, visible
from serve_app.tasks.schema import finished as ended
from serve_app.tasks.schema import leased, tasks, unfinished, waiting
from serve_app.tasks.tallies import count_finished
from serve_app.tasks.task import ACTION, DESCRIPTION, PROMPT, Status, Task

MAX_SIZE = 1000
_MAX_PAGE = 1_000_000_000
_SORTS = {
    "id": tasks.c.id,
    "submit_time": tasks.c.id,  # ids begin with it
    "start_time": tasks.c.start_time,
    "finish_time": tasks.c.finish_time,
    "status": tasks.c.status,
    "progress": tasks.c.progress,
    "mode": tasks.c.mode,
    "state": tasks.c.state,
    "instance_id": tasks.c.instance_id,
    "fail_reason": tasks.c.fail_reason,
}

_FIND = select(*COLUMNS).where(tasks.c.id.in_(bindparam("ids", expanding=True)), visible)
_UNFINISHED_AMONG = select(tasks.c.id).where(tasks.c.id.in_(bindparam("ids", expanding=True)), tasks.c.finish_time.is_(None))
_COUNT_UNFINISHED = select(func.count()).select_from(tasks).where(unfinished)
_COUNT_LEASED = select(func.count()).select_from(tasks).where(leased)
_ANY_WAITING = select(exists().where(waiting, deadline > bindparam("now")))
_HELD = select(tasks.c.id, tasks.c.fence).where(tasks.c.id.in_(bindparam("ids", expanding=True)), leased)
_OWNED = tasks.c.owner == bindparam("of_owner")
# Through the two small indexes: asked for the unfinished ones by id, SQLite goes through all ids.
_OPEN = union_all(select(tasks.c.id).where(waiting), select(tasks.c.id).where(leased)).subquery()
_UNFINISHED = select(*COLUMNS).where(tasks.c.id.in_(select(_OPEN.c.id))).order_by(tasks.c.id).limit(bindparam("most"))
_UNFINISHED_OF = select(*COLUMNS).where(unfinished, _OWNED).order_by(tasks.c.id).limit(bindparam("most"))
_NEWEST = select(*COLUMNS).order_by(tasks.c.id.desc()).limit(bindparam("most"))
_NEWEST_OF = _NEWEST.where(_OWNED)


@dataclass(frozen=True, slots=True)
class Query:
    """Which tasks, in which order, and which page of them. A filter that is None, or a collection that is empty, filters nothing.

    page: from 0. size: tasks a page, at most MAX_SIZE. sort: a name among SORTS; equal ones go by id. description, fail_reason and
    prompt match where they occur in the task's, large or small letters alike; everything else must be equal. Raises ValueError.
    """

    page: int = 0
    size: int = 10
    sort: str = "submit_time"
    desc: bool = True
    ids: Sequence[str] = ()
    id: str | None = None
    action: str | None = None
    status: Status | None = None
    statuses: Sequence[Status] = ()
    state: str | None = None
    description: str | None = None
    fail_reason: str | None = None
    instance_id: str | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.page <= _MAX_PAGE:
            raise ValueError(f"page must be 0 to {_MAX_PAGE}")
        if not 1 <= self.size <= MAX_SIZE:
            raise ValueError(f"size must be 1 to {MAX_SIZE}")
        if self.sort not in _SORTS:
            raise ValueError(f"cannot sort by {self.sort!r}; by one of {', '.join(SORTS)}")


@dataclass(frozen=True, slots=True)
class Page:
    """tasks: those of the page asked for. total: how many there are on all pages."""

    tasks: list[Task]
    total: int


SORTS = tuple(_SORTS)


def find(connection: Connection, ids: Sequence[str], owner: str | None = None) -> dict[str, Task]:
    """The tasks that exist of these, by id; with `owner`, only its own."""
    return {row.id: to_task(row) for row in connection.execute(_FIND, {"ids": ids, "seen_by": owner})}


def unfinished_among(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of these tasks that wait or are worked on."""
    return set(connection.execute(_UNFINISHED_AMONG, {"ids": ids}).scalars())


def count_waiting(connection: Connection) -> int:
    return count_unfinished(connection) - count_leased(connection)


def count_leased(connection: Connection) -> int:
    """Tasks that are worked on, or were and are not taken back yet; few, so this costs next to nothing."""
    return connection.execute(_COUNT_LEASED).scalar_one()


def count_unfinished(connection: Connection) -> int:
    return connection.execute(_COUNT_UNFINISHED).scalar_one()


def any_waiting(connection: Connection, now: int) -> bool:
    """Is there something to claim?"""
    return bool(connection.execute(_ANY_WAITING, {"now": now}).scalar())


def held(connection: Connection, claimed: Sequence[Task]) -> set[str]:
    """Ids of those whose lease is still in force."""
    fences = {row.id: row.fence for row in connection.execute(_HELD, {"ids": [task.id for task in claimed]})}
    return {task.id for task in claimed if fences.get(task.id) == task.fence}


def list_unfinished(connection: Connection, owner: str | None, limit: int) -> list[Task]:
    """Waiting and running tasks, oldest first."""
    statement = _UNFINISHED if owner is None else _UNFINISHED_OF
    return [to_task(row) for row in connection.execute(statement, _of(owner, limit))]


def list_newest(connection: Connection, owner: str | None, limit: int) -> list[Task]:
    """Newest first."""
    statement = _NEWEST if owner is None else _NEWEST_OF
    return [to_task(row) for row in connection.execute(statement, _of(owner, limit))]


def search(connection: Connection, query: Query, owner: str | None) -> Page:
    """One page, and the count of all that match."""
    where = _conditions(query)
    if owner is not None:
        where.append(tasks.c.owner == owner)
    parts = _parts(query, owner, where)
    counts = [_count(connection, query, owner, part) for part in parts]
    found, skip, room = [], query.page * query.size, query.size
    for part, count in zip(parts, counts, strict=True):
        if room and skip < count:
            page = select(*COLUMNS).where(*part.where).order_by(*part.order).limit(room).offset(skip)
            found += [to_task(row) for row in connection.execute(page)]
        skip, room = max(skip - count, 0), query.size - len(found)
    return Page(found, sum(counts))


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of the tasks that match, in order. finished: True or False where all of them are or none is, None where that is mixed."""

    where: list[ColumnElement[bool]]
    order: Sequence[ColumnElement[Any]]
    finished: bool | None


def _parts(query: Query, owner: str | None, where: list[ColumnElement[bool]]) -> list[_Part]:
    """One after the other, they are what was asked for; each goes by an index where there is one."""
    by, id = _SORTS[query.sort], tasks.c.id
    ends: list[bool | None] = list({status.terminal for status in _statuses(query)})
    if query.sort == "finish_time":
        # Tasks that have not ended come first, or last when the latest end comes first; among themselves they go by id.
        parts = [_part(where, owner, [by, id] if ended else [id], query.desc, bool(ended)) for ended in sorted(map(bool, ends))]
        return parts[::-1] if query.desc else parts
    finished = ends[0] if len(ends) == 1 else None
    if by is id:
        return [_part(where, owner, [id], query.desc, finished)]
    # Databases do not agree where nulls belong; a start that is still to come is the earliest here.
    order = [by.desc().nulls_last(), id.desc()] if query.desc else [by.asc().nulls_first(), id.asc()]
    return [_Part(_part(where, owner, [], False, finished).where, order, finished)]


def _part(where: list[ColumnElement[bool]], owner: str | None, by: list[ColumnElement[Any]], desc: bool, finished: bool | None) -> _Part:
    which: list[ColumnElement[bool]] = []
    if finished:
        which = [ended]
    elif finished is False:  # for everybody's: see _OPEN
        which = [unfinished] if owner is not None else [unfinished, tasks.c.id.in_(select(_OPEN.c.id))]
    return _Part([*where, *which], [column.desc() if desc else column.asc() for column in by], finished)


def _statuses(query: Query) -> set[Status]:
    """Those that a task that matches may have."""
    wanted = set(query.statuses or Status)
    return wanted & {query.status} if query.status else wanted


def _count(connection: Connection, query: Query, owner: str | None, part: _Part) -> int:
    """How many there are in this part. Where only owner and status matter, those that have ended are not counted one by one."""
    closer = (query.id, query.action, query.state, query.description, query.fail_reason, query.instance_id, query.prompt)
    if query.ids or any(value is not None for value in closer):
        return _count_rows(connection, part.where)
    count = 0
    if part.finished is not False:
        count += count_finished(connection, owner, {status for status in _statuses(query) if status.terminal})
    if part.finished is not True:
        count += _count_rows(connection, _part(part.where, owner, [], False, False).where)
    return count


def _count_rows(connection: Connection, where: list[ColumnElement[bool]]) -> int:
    return connection.execute(select(func.count()).select_from(tasks).where(*where)).scalar_one()


def _of(owner: str | None, limit: int) -> dict[str, object]:
    return {"most": limit} if owner is None else {"most": limit, "of_owner": owner}


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    equal = (
        (tasks.c.id, query.id),
        (tasks.c.status, query.status),
        (tasks.c.state, query.state),
        (tasks.c.instance_id, query.instance_id),
        (literal(ACTION), query.action),
    )
    within = (
        (tasks.c.fail_reason, query.fail_reason),
        (literal(DESCRIPTION) + tasks.c.id, query.description),
        (literal(PROMPT), query.prompt),
    )
    among = ((tasks.c.id, query.ids), (tasks.c.status, query.statuses))
    return [
        *(column == value for column, value in equal if value is not None),
        *(column.icontains(value, autoescape=True) for column, value in within if value is not None),
        *(column.in_(values) for column, values in among if values),
    ]
