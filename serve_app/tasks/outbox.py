"""Callbacks that are owed. A row is written by the commit that it reports, so that neither is ever without the other.

Order, per task: a state is tried only when no older one is pending, so a receiver that answers hears all of them in order. Once a try has
failed, only the newest pending state is kept, so a dead receiver never holds back the end of a task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import Enum, auto
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, and_, bindparam, delete, exists, func, insert, select, update

from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.schema import callbacks, tasks
from serve_app.tasks.task import Status, Task

_LOOK = 20  # candidates read per free place, so that one host's many rows do not hide another's
_older = callbacks.alias("older")
_same = callbacks.alias("same")
_newest = select(func.max(_same.c.rank)).where(_same.c.task_id == callbacks.c.task_id).scalar_subquery()
_due = and_(
    callbacks.c.due.is_not(None),
    callbacks.c.due <= bindparam("now"),
    ~exists().where(_older.c.task_id == callbacks.c.task_id, _older.c.rank < callbacks.c.rank),
    callbacks.c.host.not_in(bindparam("full", expanding=True)),
)
_this = and_(callbacks.c.task_id == bindparam("this_id"), callbacks.c.rank == bindparam("this_rank"))
# The attempt's number is the fence: a courier that comes back after its lease has no say in the try of another.
_ours = and_(_this, callbacks.c.attempt == bindparam("this_attempt"), callbacks.c.trying == 1)

# On PostgreSQL, who changes what a task owes waits here for others who do; SQLite has one writer at a time.
_HOLD = select(tasks.c.id).where(tasks.c.id == bindparam("this_id")).with_for_update(key_share=True)
_INSERT = insert(callbacks)
_DROP_FAILED = delete(callbacks).where(
    callbacks.c.task_id == bindparam("this_id"),
    callbacks.c.rank < bindparam("this_rank"),
    callbacks.c.error.is_not(None),
    callbacks.c.trying == 0,
)
_FORGET = delete(callbacks).where(callbacks.c.task_id == bindparam("this_id"))
_ANY_DUE = select(exists().where(_due))
_CANDIDATES = (
    select(callbacks.c.task_id, callbacks.c.rank, callbacks.c.host)
    .where(_due)
    .order_by(callbacks.c.due)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_TAKE = (
    update(callbacks)
    .where(_this)  # one statement a row: SQLite goes through the whole table for (task_id, rank) in (...)
    .values(due=bindparam("until"), trying=1, attempt=callbacks.c.attempt + 1)
    .returning(callbacks)
)
_DELIVERED = delete(callbacks).where(_this)
_RETURN = update(callbacks).where(_ours).values(due=bindparam("now"), trying=0)
_NOTE = update(callbacks).where(_ours).values(due=bindparam("retry_at"), trying=0, error=bindparam("why"))
_DROP_OLDER = delete(callbacks).where(callbacks.c.task_id == bindparam("this_id"), callbacks.c.rank < _newest)


@dataclass(frozen=True, slots=True)
class Callback:
    """One state of one task that its hook has to hear. attempt: this try's number, from 1. created: when the state was committed."""

    task: Task
    hook: str
    host: str
    created: int
    attempt: int

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


def forget(connection: Connection, task_id: str) -> None:
    """Owe nothing more for this task. A try that is under way goes on; what becomes of it is of no interest any more."""
    connection.execute(_FORGET, {"this_id": task_id})


class Outbox:
    """The courier's side: what is due, and what became of it."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._clock = clock

    async def any_due(self, full: Collection[str] = ()) -> bool:
        """Is there something to try for a host that is not in `full`? One look at an index, no write."""
        values = {"now": self._clock(), "full": list(full)}
        return await self._database.read(lambda connection: bool(connection.execute(_ANY_DUE, values).scalar()))

    async def claim_due(
        self,
        limit: int,
        lease_s: float,
        *,
        settled: Sequence[Outcome] = (),
        per_host: int | None = None,
        busy: Mapping[str, int] | None = None,
    ) -> list[Callback]:
        """Note how earlier tries ended, and take up to `limit` callbacks that are due, longest due first, in one commit.

        A callback is ours for `lease_s` seconds; not settled by then, it is due again. `busy` says how many tries per host are under
        way: no host gets more than `per_host` with them.
        """
        now = self._clock()

        def work(connection: Connection) -> list[Callback]:
            for outcome in settled:
                _settle(connection, outcome, now)
            return _claim(connection, now, now + int(lease_s * 1000), limit, per_host or limit, Counter(busy or {}))

        return await self._database.write(work)

    async def settle(self, settled: Sequence[Outcome]) -> None:
        """Note how tries ended."""
        await self.claim_due(0, 0.0, settled=settled)

    async def delivered(self, callback: Callback) -> None:
        await self.settle([Outcome(callback, Verdict.DELIVERED)])

    async def failed(self, callback: Callback, retry_at: int | None) -> None:
        """`retry_at` None: never again; the row stays, for people to look at."""
        await self.settle([Outcome(callback, Verdict.DEAD if retry_at is None else Verdict.FAILED, retry_at)])


def _row(task: Task, now: int) -> dict[str, object]:
    hook = task.notify_hook or ""
    return {
        "task_id": task.id,
        "rank": task.status.rank,
        "hook": hook,
        "host": _host(hook),
        "task": asdict(task),
        "created": now,
        "due": now,
        "trying": 0,
        "attempt": 0,
    }


def _host(hook: str) -> str:
    """Host and port, without a user's name and password; nothing for what is no URL, which is the courier's to find out."""
    try:
        return urlsplit(hook).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def _claim(connection: Connection, now: int, until: int, limit: int, per_host: int, busy: Counter[str]) -> list[Callback]:
    if limit <= 0:
        return []
    full = [host for host, tries in busy.items() if tries >= per_host]
    chosen: list[dict[str, object]] = []
    for task_id, rank, host in connection.execute(_CANDIDATES, {"now": now, "full": full, "most": limit * _LOOK}):
        if len(chosen) < limit and busy[host] < per_host:
            busy[host] += 1
            chosen.append({"this_id": task_id, "this_rank": rank, "until": until})
    return [_callback(connection.execute(_TAKE, values).one()) for values in chosen]


def _settle(connection: Connection, outcome: Outcome, now: int) -> None:
    key = _key(outcome.callback.task)
    ours = {**key, "this_attempt": outcome.callback.attempt}
    if outcome.verdict is Verdict.DELIVERED:
        connection.execute(_DELIVERED, key)
    elif outcome.verdict is Verdict.RETURNED:
        connection.execute(_RETURN, {**ours, "now": now})
    else:
        connection.execute(_HOLD, {"this_id": outcome.callback.task.id}).close()  # so that no newer state comes between the next two
        retry_at = outcome.retry_at if outcome.verdict is Verdict.FAILED else None
        if connection.execute(_NOTE, {**ours, "retry_at": retry_at, "why": outcome.error or "no reason given"}).rowcount:
            connection.execute(_DROP_OLDER, key)


def _key(task: Task) -> dict[str, object]:
    return {"this_id": task.id, "this_rank": task.status.rank}


def _callback(row: Row[Any]) -> Callback:
    return Callback(_task(row.task), row.hook, row.host, row.created, row.attempt)


def _task(snapshot: dict[str, Any]) -> Task:
    """A snapshot may be of an older release: what it lacks has a default, what is not known any more is left out."""
    known = {field.name for field in fields(Task)}
    return Task(**{**{name: value for name, value in snapshot.items() if name in known}, "status": Status(snapshot["status"])})
