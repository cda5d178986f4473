"""How a task's row may change: each function is one transaction of a Connection, one compare-and-set each.

The statements are built once, here: building one anew takes 400 us, ten times what SQLite takes to run it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, case, delete, exists, func, insert, select, update

from serve_app.tasks import outbox, turns
from serve_app.tasks.query import find
from serve_app.tasks.rows import COLUMNS, deadline, to_task, to_values, visible
from serve_app.tasks.schema import leased, tasks, unfinished
from serve_app.tasks.task import NewTask, Status, Task
from serve_app.tasks.turns import ASKED, Asked, in_time

# The row, if the lease of the task at hand is still the one in force. An ended task has no lease, so ends are final.
_held = and_(tasks.c.id == bindparam("held_id"), tasks.c.fence == bindparam("held_fence"), leased)
_no_lease = {"lease_until": None, "lease_owner": None}

_INSERT = insert(tasks)


def _claim(asked: Asked) -> Any:
    first = asked.oldest(bindparam("of_priority"), bindparam("of_owner")).with_for_update(skip_locked=True).scalar_subquery()
    return (
        update(tasks)
        .where(tasks.c.id == first, in_time)
        .values(
            status=case((tasks.c.status == Status.NOT_START, Status.SUBMITTED), else_=tasks.c.status),
            start_time=func.coalesce(tasks.c.start_time, bindparam("now")),
            attempt=case((tasks.c.fence == 0, 1), else_=tasks.c.attempt),  # see `begin`
            fence=tasks.c.fence + 1,
            lease_until=bindparam("until"),
            lease_owner=bindparam("holder"),
        )
        .returning(*COLUMNS)
    )


_CLAIM = {name: _claim(asked) for name, asked in ASKED.items()}
_START = (
    update(tasks)
    .where(_held, tasks.c.status == Status.SUBMITTED)
    .values(status=Status.IN_PROGRESS, progress=bindparam("reached"))
    .returning(*COLUMNS)
)
_PROGRESS = (
    update(tasks)
    .where(_held)
    .values(progress=case((tasks.c.progress < bindparam("reached"), bindparam("reached")), else_=tasks.c.progress))
)
_RENEW = update(tasks).where(_held).values(lease_until=bindparam("until"))
_BEGIN = update(tasks).where(_held).values(attempt=bindparam("attempts"))
_RELEASE = update(tasks).where(_held).values(**_no_lease, attempt=bindparam("attempts"))
_END = update(tasks).where(_held).values(finish_time=bindparam("now"), lease_until=None, lease_owner=None).returning(*COLUMNS)
_ENDED_SO = select(
    exists().where(
        tasks.c.id == bindparam("held_id"),
        tasks.c.fence == bindparam("held_fence"),
        tasks.c.status == bindparam("status"),
        tasks.c.result.is_not_distinct_from(bindparam("result")),
        tasks.c.fail_reason.is_not_distinct_from(bindparam("fail_reason")),
    )
)
_EXPIRE = update(tasks).where(leased, tasks.c.lease_owner == bindparam("holder")).values(lease_until=bindparam("now"))
_CANCEL = (
    update(tasks)
    .where(tasks.c.id == bindparam("this_id"), unfinished, visible)
    .values(**_no_lease, status=Status.FAILURE, fail_reason=bindparam("reason"), finish_time=bindparam("now"))
    .returning(*COLUMNS)
)
_expired = and_(leased, tasks.c.lease_until <= bindparam("now"))
_ANY_EXPIRED = select(exists().where(_expired))
_EXPIRED = (
    select(tasks.c.id, tasks.c.attempt)
    .where(_expired)
    .order_by(tasks.c.lease_until)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_overdue = and_(unfinished, tasks.c.deadline <= bindparam("now"))
_ANY_OVERDUE = select(exists().where(_overdue))
_OVERDUE = (
    select(tasks.c.id, tasks.c.submit_time, tasks.c.deadline).where(_overdue).limit(bindparam("most")).with_for_update(skip_locked=True)
)
_unlimited = and_(unfinished, tasks.c.deadline.is_(None))
_ANY_UNLIMITED = select(exists().where(_unlimited))
_LIMIT = update(tasks).where(_unlimited).values(deadline=deadline)
_among = tasks.c.id.in_(bindparam("ids", expanding=True))
_REMOVE = delete(tasks).where(_among)
_WAIT_AGAIN = update(tasks).where(_among).values(**_no_lease)
_GIVE_UP = (
    update(tasks)
    .where(_among, unfinished)
    .values(**_no_lease, status=Status.FAILURE, fail_reason=bindparam("reason"), finish_time=bindparam("now"))
    .returning(*COLUMNS)
)


def add(connection: Connection, task: Task, new: NewTask | None = None) -> None:
    """Insert a new row. Raises IntegrityError when the id is taken, or the idempotency key of `new` is."""
    connection.execute(_INSERT, to_values(task, new))


def any_expired(connection: Connection, now: int) -> bool:
    return bool(connection.execute(_ANY_EXPIRED, {"now": now}).scalar())


def claim(connection: Connection, holder: str, now: int, until: int, *, relax_first: bool = False) -> Task | None:
    """Lease the oldest waiting task of the key whose turn it is."""
    values = {"holder": holder, "now": now, "until": until}
    for turn in turns.choose(connection, now, relax_first=relax_first):
        row = connection.execute(
            _CLAIM[connection.dialect.name], {**values, "of_priority": turn.priority, "of_owner": turn.owner}
        ).one_or_none()
        if row is None:  # others are claiming all that this key had
            continue
        task = to_task(row)
        if task.fence == 1:  # only the first claim changes the status
            outbox.record(connection, [task], now)
        turns.move_on(connection, turn)
        return task
    return None


def advance(connection: Connection, task: Task, progress: int, now: int) -> bool:
    """To IN_PROGRESS, or further on in it; only the former is told to the hook."""
    values = {**_lease_of(task), "reached": progress}
    if _tell(connection, connection.execute(_START, values).all(), now):
        return True
    return connection.execute(_PROGRESS, values).rowcount == 1


def renew(connection: Connection, task: Task, until: int) -> bool:
    return connection.execute(_RENEW, {**_lease_of(task), "until": until}).rowcount == 1


def begin(connection: Connection, task: Task) -> bool:
    """The attempt counts. That of a task's first claim does at once: nearly all have no other, and so no further commit."""
    return connection.execute(_BEGIN, {**_lease_of(task), "attempts": task.losses + 1}).rowcount == 1


def release(connection: Connection, task: Task) -> bool:
    """Waiting again, the attempt not counted."""
    return connection.execute(_RELEASE, {**_lease_of(task), "attempts": task.losses}).rowcount == 1


def expire(connection: Connection, holder: str, now: int) -> None:
    """The leases of this holder run out."""
    connection.execute(_EXPIRE, {"holder": holder, "now": now})


def end(connection: Connection, task: Task, values: Mapping[str, object], now: int) -> bool:
    """To a terminal status with these columns; also True where this very claim has ended it so before, and did not hear of it."""
    lease = _lease_of(task)
    if _tell(connection, connection.execute(_END, {**lease, **values, "now": now}).all(), now):
        return True
    so = {name: values.get(name) for name in ("status", "result", "fail_reason")}
    return bool(connection.execute(_ENDED_SO, {**lease, **so}).scalar())


def cancel(connection: Connection, id: str, owner: str | None, reason: str, now: int) -> tuple[Task | None, bool]:
    """End a task that has not ended, whoever holds it; then the task, if the owner has such a one, and whether this ended it."""
    rows = connection.execute(_CANCEL, {"this_id": id, "seen_by": owner, "reason": reason, "now": now}).all()
    if _tell(connection, rows, now):
        return to_task(rows[0]), True
    return find(connection, [id], owner).get(id), False


def remove(connection: Connection, ids: Sequence[str]) -> int:
    """Delete rows and the callbacks that they owe. How many rows there were."""
    # Rows first: who changes a task holds its row before it touches its callbacks, and none comes after the row is gone.
    removed = connection.execute(_REMOVE, {"ids": ids}).rowcount
    outbox.forget(connection, ids)
    return removed


def take_expired(connection: Connection, limit: int, max_attempts: int, reason: str, now: int) -> tuple[int, int]:
    """Take back leases that ran out, longest ago first; returns how many tasks wait again, and how many have failed."""
    found = connection.execute(_EXPIRED, {"now": now, "most": limit}).all()
    again = [row.id for row in found if row.attempt < max_attempts]
    spent = [row.id for row in found if row.attempt >= max_attempts]
    if spent:
        _tell(connection, connection.execute(_GIVE_UP, {"ids": spent, "reason": reason, "now": now}).all(), now)
    if again:
        connection.execute(_WAIT_AGAIN, {"ids": again})
    return len(again), len(spent)


def any_overdue(connection: Connection, now: int) -> bool:
    return bool(connection.execute(_ANY_OVERDUE, {"now": now}).scalar())


def any_unlimited(connection: Connection) -> bool:
    return bool(connection.execute(_ANY_UNLIMITED).scalar())


def limit_all(connection: Connection) -> None:
    """A deadline for those tasks that a release without deadlines accepted, as its replicas do while they are replaced."""
    connection.execute(_LIMIT)


def fail_overdue(connection: Connection, limit: int, reason: Callable[[float], str], now: int) -> list[str]:
    """End tasks whose deadline has passed, whoever holds them; their ids. reason: for a task that had so many seconds."""
    given = defaultdict[float, list[str]](list)
    for row in connection.execute(_OVERDUE, {"now": now, "most": limit}):
        given[(row.deadline - row.submit_time) / 1000].append(row.id)
    ended = [
        row
        for seconds, ids in given.items()
        for row in connection.execute(_GIVE_UP, {"ids": ids, "reason": reason(seconds), "now": now}).all()
    ]
    _tell(connection, ended, now)
    return [row.id for row in ended]


def _tell(connection: Connection, rows: Sequence[Row[tuple[object, ...]]], now: int) -> bool:
    """Owe the callbacks of the rows whose status just changed; False when there are none."""
    outbox.record(connection, [to_task(row) for row in rows], now)
    return bool(rows)


def _lease_of(task: Task) -> dict[str, object]:
    return {"held_id": task.id, "held_fence": task.fence}
