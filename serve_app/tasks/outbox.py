"""Callbacks that are owed. A row is written by the commit that it reports, so that neither is ever without the other.

Order, per task: a state is tried only when no older one is pending, so a receiver that answers hears all of them in order. Once a try has
failed, only the newest pending state is kept, so a dead receiver never holds back the end of a task.

`due` is when a row may be tried next, or when the try under way counts as lost. A state is due no earlier than the older one that it waits
for, whose end lets it go: what is due and may not be tried is little, however much is pending. Only dead letters are never due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import Enum, auto
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, and_, bindparam, delete, exists, func, insert, select, update

from serve_app.tasks.clock import time_of
from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.schema import callbacks, tasks
from serve_app.tasks.task import Status, Task
from serve_app.tasks.words import Words

_END_RANK = 3
_older = callbacks.alias("older")
_same = callbacks.alias("same")
_newest = select(func.max(_same.c.rank)).where(_same.c.task_id == callbacks.c.task_id).scalar_subquery()
_due = and_(
    callbacks.c.due.is_not(None),
    callbacks.c.due <= bindparam("now"),
    ~exists().where(_older.c.task_id == callbacks.c.task_id, _older.c.rank < callbacks.c.rank, _older.c.due.is_not(None)),
)
_of_task = callbacks.c.task_id == bindparam("this_id")
_this = and_(_of_task, callbacks.c.rank == bindparam("this_rank"))
# The attempt's number is the fence: a courier that comes back after its lease has no say in the try of another.
_ours = and_(_this, callbacks.c.attempt == bindparam("this_attempt"), callbacks.c.trying == 1)
_as_seen = and_(_this, callbacks.c.attempt == bindparam("this_attempt"), callbacks.c.due == bindparam("this_due"))
_waits_for = select(func.max(_same.c.due)).where(_same.c.task_id == bindparam("this_id"), _same.c.due > bindparam("now")).scalar_subquery()

# On PostgreSQL, who changes what a task owes waits here for others who do; SQLite has one writer at a time.
_HOLD = select(tasks.c.id).where(tasks.c.id == bindparam("this_id")).with_for_update(key_share=True)
_INSERT = insert(callbacks).values(due=func.coalesce(_waits_for, bindparam("now")))
_DROP_FAILED = delete(callbacks).where(
    _of_task,
    callbacks.c.rank < bindparam("this_rank"),
    callbacks.c.error.is_not(None),
    callbacks.c.trying == 0,
)
_FORGET = delete(callbacks).where(callbacks.c.task_id.in_(bindparam("ids", expanding=True)))
_ANY_DUE = select(exists().where(_due))
_DUE = (
    select(*(callbacks.c[name] for name in ("task_id", "rank", "host", "owner", "created", "due", "attempt")))
    .where(_due)
    .order_by(callbacks.c.due)
    .limit(bindparam("most"))
)
# By the ids alone: SQLite goes through the whole table for (task_id, rank) in (...).
_LOCK = (
    select(callbacks)
    .where(callbacks.c.task_id.in_(bindparam("ids", expanding=True)), callbacks.c.due <= bindparam("now"))
    .with_for_update(skip_locked=True)
)
_TAKE = update(callbacks).where(_this).values(due=bindparam("until"), trying=1, attempt=callbacks.c.attempt + 1)
_blamed = func.coalesce(bindparam("why", type_=Words), callbacks.c.error)
_PUT_OFF = update(callbacks).where(_as_seen).values(due=bindparam("until"), trying=0, error=_blamed)
# Whether the row was found as it had been seen, and is put off now: otherwise another courier has had it meanwhile, and it says nothing.
_is_off = exists().where(_same.c.task_id == callbacks.c.task_id, _same.c.rank == bindparam("this_rank"), _same.c.due == bindparam("until"))
# The states behind it wait as long, so that they are not looked at again and again.
_KEEP_BACK = (
    update(callbacks)
    .where(_of_task, callbacks.c.rank > bindparam("this_rank"), callbacks.c.trying == 0, callbacks.c.due < bindparam("until"), _is_off)
    .values(due=bindparam("until"), error=_blamed)
)
_DELIVERED = delete(callbacks).where(_this)
_RETURN = update(callbacks).where(_ours).values(due=bindparam("now"), trying=0)
_NOTE = update(callbacks).where(_ours).values(due=bindparam("retry_at"), trying=0, error=bindparam("why"))
_BURY = update(callbacks).where(_as_seen).values(due=None, trying=0, error=bindparam("why"))
_DROP_OLDER = delete(callbacks).where(_of_task, callbacks.c.rank < _newest)
_DROP_BLAMED = _DROP_OLDER.where(_is_off)
_LET_GO = update(callbacks).where(_of_task, callbacks.c.rank > bindparam("this_rank"), callbacks.c.trying == 0).values(due=bindparam("now"))
_TELL_TASK = update(tasks).where(tasks.c.id == bindparam("this_id")).values(hook_error=bindparam("why"))
_CLEAR_TASK = update(tasks).where(tasks.c.id == bindparam("this_id"), tasks.c.hook_error.is_not(None)).values(hook_error=None)


class Due(NamedTuple):
    """A row that may be tried, as it was seen. owner: the key of its task. created, due: milliseconds since the epoch."""

    task_id: str
    rank: int
    host: str
    owner: str
    created: int
    due: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Callback:
    """One state of one task that its hook has to hear. attempt: this try's number, from 1. created: when the state was committed.

    until: when the try counts as lost.
    """

    task: Task = field(repr=False)  # URLs of hooks are often secrets
    hook: str = field(repr=False)
    host: str
    created: int
    attempt: int
    until: int

    @property
    def webhook_id(self) -> str:
        """The same on each try of a state, so that receivers can drop repeats."""
        return f"{self.task.id}-{self.task.status}"


class Verdict(Enum):
    """How a try ended: heard, not heard (try again), never again, or not made after all."""

    DELIVERED = auto()
    FAILED = auto()
    DEAD = auto()
    RETURNED = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try. retry_at: the time of the next one, for FAILED. error: a few words without the URL."""

    callback: Callback
    verdict: Verdict
    retry_at: int | None = None
    error: str | None = None


class PutOff(NamedTuple):
    """A row that is not tried before `until`. why: what its host lately said to others, which counts as its own try; None: no place."""

    row: Due
    until: int
    why: str | None = None


class GivenUp(NamedTuple):
    """A row that is not tried any more."""

    row: Due
    why: str


def record(connection: Connection, told: Sequence[Task], now: int) -> None:
    """Owe the hooks of these tasks their present states, within the transaction that made them. NOT_START is not reported."""
    owed = [task for task in told if task.notify_hook and task.status is not Status.NOT_START]
    if not owed:
        return
    for task in owed:
        if task.status.rank > 1:
            # A state whose try failed has had its turn; one that is being tried is left to settle itself.
            connection.execute(_DROP_FAILED, _key(task))
    connection.execute(_INSERT, [_row(task, now) for task in owed])


def forget(connection: Connection, ids: Sequence[str]) -> None:
    """Owe nothing more for these tasks. A try that is under way goes on; what becomes of it is of no interest any more."""
    connection.execute(_FORGET, {"ids": ids})


class Outbox:
    """The courier's side: what is due, and what became of it."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._clock = clock

    async def any_due(self) -> bool:
        """One look at an index, no write."""
        values = {"now": await time_of(self._clock)}
        return await self._database.read(lambda connection: bool(connection.execute(_ANY_DUE, values).scalar()))

    async def due(self, limit: int) -> list[Due]:
        """What may be tried now, longest due first. No write."""
        values = {"now": await time_of(self._clock), "most": limit}
        return await self._database.read(lambda connection: [Due(*row) for row in connection.execute(_DUE, values)])

    async def commit(
        self,
        *,
        settled: Sequence[Outcome] = (),
        take: Sequence[Due] = (),
        lease_s: float = 0.0,
        put_off: Sequence[PutOff] = (),
        given_up: Sequence[GivenUp] = (),
    ) -> list[Callback]:
        """Note how earlier tries ended, and what becomes of rows that were due, in one commit. Returns what is ours to try.

        Of `take` that is what nobody else has taken or changed meanwhile. It is ours for `lease_s` seconds; not settled by then, it is
        due again.
        """
        now = await time_of(self._clock)

        def work(connection: Connection) -> list[Callback]:
            for outcome in sorted(settled, key=lambda outcome: outcome.callback.task.id):
                _settle(connection, outcome, now)
            _give_up(connection, given_up)
            _put_off(connection, put_off)
            return _take(connection, take, now, now + int(lease_s * 1000))

        return await self._database.write(work)

    async def claim_due(self, limit: int, lease_s: float) -> list[Callback]:
        """Take up to `limit` of what is due, longest due first."""
        due = await self.due(limit)
        return await self.commit(take=due, lease_s=lease_s) if due else []

    async def settle(self, settled: Sequence[Outcome]) -> None:
        """Note how tries ended."""
        if settled:
            await self.commit(settled=settled)

    async def delivered(self, callback: Callback) -> None:
        await self.settle([Outcome(callback, Verdict.DELIVERED)])

    async def failed(self, callback: Callback, retry_at: int | None) -> None:
        """`retry_at` None: never again; the row stays, for people to look at."""
        await self.settle([Outcome(callback, Verdict.DEAD if retry_at is None else Verdict.FAILED, retry_at)])


def _row(task: Task, now: int) -> dict[str, object]:
    hook = task.notify_hook or ""
    return {
        "this_id": task.id,
        "now": now,
        "task_id": task.id,
        "rank": task.status.rank,
        "hook": hook,
        "host": host_of(hook),
        "owner": task.owner,
        "task": asdict(task),
        "created": now,
        "trying": 0,
        "attempt": 0,
    }


def host_of(hook: str) -> str:
    """Host and port, without a user's name and password; nothing for what is no URL, which is the courier's to find out."""
    try:
        return urlsplit(hook).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def _take(connection: Connection, take: Sequence[Due], now: int, until: int) -> list[Callback]:
    if not take:
        return []
    seen = {(due.task_id, due.rank): due for due in take}
    ours: list[Row[Any]] = []
    for row in connection.execute(_LOCK, {"ids": sorted({due.task_id for due in take}), "now": now}):
        due = seen.get((row.task_id, row.rank))
        if due and (row.due, row.attempt) == (due.due, due.attempt):
            ours.append(row)
    if ours:
        values = [{"this_id": row.task_id, "this_rank": row.rank, "until": until, "why": None} for row in ours]
        connection.execute(_TAKE, values)
        _keep_back(connection, values)
    ours.sort(key=lambda row: row.due)
    return [Callback(_task(row.task), row.hook, row.host, row.created, row.attempt + 1, until) for row in ours]


def _put_off(connection: Connection, rows: Sequence[PutOff]) -> None:
    values: list[dict[str, Any]] = [{**_seen(off.row), "until": off.until, "why": off.why} for off in sorted(rows)]
    if not values:
        return
    connection.execute(_PUT_OFF, values)
    _keep_back(connection, values)
    if blamed := [value for value in values if value["why"] is not None and value["this_rank"] < _END_RANK]:
        connection.execute(_DROP_BLAMED, blamed)


def _keep_back(connection: Connection, values: Iterable[dict[str, Any]]) -> None:
    if behind := [value for value in values if value["this_rank"] < _END_RANK]:
        connection.execute(_KEEP_BACK, behind)


def _give_up(connection: Connection, rows: Iterable[GivenUp]) -> None:
    for up in sorted(rows):
        connection.execute(_HOLD, {"this_id": up.row.task_id}).close()
        if connection.execute(_BURY, {**_seen(up.row), "why": up.why}).rowcount:
            connection.execute(_TELL_TASK, {"this_id": up.row.task_id, "why": up.why})
            connection.execute(_DROP_OLDER, {"this_id": up.row.task_id})


def _seen(row: Due) -> dict[str, object]:
    return {"this_id": row.task_id, "this_rank": row.rank, "this_attempt": row.attempt, "this_due": row.due}


def _settle(connection: Connection, outcome: Outcome, now: int) -> None:
    key = _key(outcome.callback.task)
    ours = {**key, "this_attempt": outcome.callback.attempt}
    if outcome.verdict is Verdict.RETURNED:
        connection.execute(_RETURN, {**ours, "now": now})
        return
    connection.execute(_HOLD, {"this_id": outcome.callback.task.id}).close()  # so that no newer state comes between the next ones
    if outcome.verdict is Verdict.DELIVERED:
        if outcome.callback.task.status.terminal:
            connection.execute(_CLEAR_TASK, {"this_id": outcome.callback.task.id})
        connection.execute(_DELIVERED, key)
    else:
        retry_at, why = outcome.retry_at if outcome.verdict is Verdict.FAILED else None, outcome.error or "no reason given"
        if not connection.execute(_NOTE, {**ours, "retry_at": retry_at, "why": why}).rowcount:
            return
        if retry_at is None:
            connection.execute(_TELL_TASK, {"this_id": outcome.callback.task.id, "why": why})
        connection.execute(_DROP_OLDER, key)
    if not outcome.callback.task.status.terminal:
        connection.execute(_LET_GO, {**key, "now": now})


def _key(task: Task) -> dict[str, object]:
    return {"this_id": task.id, "this_rank": task.status.rank}


def _task(snapshot: dict[str, Any]) -> Task:
    """A snapshot may be of an older release: what it lacks has a default, what is not known any more is left out."""
    known = {field.name for field in fields(Task)}
    return Task(**{**{name: value for name, value in snapshot.items() if name in known}, "status": Status(snapshot["status"])})
