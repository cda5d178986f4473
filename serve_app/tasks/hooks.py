"""What operators ask about callbacks: which are owed or given up, to whom, and that they be sent again.

Hosts only: paths, queries and names in the URLs of hooks are often secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, func, select, update

from serve_app.tasks import outbox
from serve_app.tasks.clock import time_of
from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.query import find
from serve_app.tasks.schema import callbacks, tasks
from serve_app.tasks.task import Status

State: TypeAlias = Literal["pending", "trying", "dead"]

MOST = 1_000
_AT_ONCE = 500
_COLUMNS = [callbacks.c[name] for name in ("task_id", "task", "host", "owner", "created", "due", "trying", "attempt", "error")]
_PENDING = select(func.count(), func.min(callbacks.c.created)).where(callbacks.c.due.is_not(None))
_DEAD = select(func.count()).select_from(callbacks).where(callbacks.c.due.is_(None))
_OF_TASK = select(*_COLUMNS).where(callbacks.c.task_id == bindparam("this_id")).order_by(callbacks.c.rank)
# The attempt's number is a fence, so what is being tried is left alone.
_AGAIN = (
    update(callbacks)
    .where(callbacks.c.task_id.in_(bindparam("ids", expanding=True)), callbacks.c.trying == 0)
    .values(due=bindparam("now"), created=bindparam("now"), attempt=0, error=None)
)
_CLEAR = update(tasks).where(tasks.c.id.in_(bindparam("ids", expanding=True)), tasks.c.hook_error.is_not(None)).values(hook_error=None)


@dataclass(frozen=True, slots=True)
class Owed:
    """One state of one task that its hook has not heard. Times are milliseconds since the epoch.

    owner: id of the task's key. due: when it is tried next, or when the try under way counts as lost; None: never. error: of the last
    try, or what its host said to others.
    """

    task: str
    status: str
    state: State
    host: str
    owner: str
    created: int
    due: int | None
    attempts: int
    error: str | None


class Counts(NamedTuple):
    """oldest: when the oldest of the pending ones was owed."""

    pending: int
    oldest: int | None
    dead: int

    def age_s(self, now: int) -> int | None:
        return None if self.oldest is None else max(0, now - self.oldest) // 1000


class Hooks:
    """The whole outbox, of every key."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._clock = clock

    async def counts(self) -> Counts:
        def work(connection: Connection) -> Counts:
            pending, oldest = connection.execute(_PENDING).one()
            return Counts(pending, oldest, connection.execute(_DEAD).scalar_one())

        return await self._database.read(work)

    async def find(self, *, dead: bool | None = None, host: str | None = None, limit: int = 100) -> list[Owed]:
        """Oldest first. dead: only those given up, or only the others. host: as listed, with its port where the URL names one."""
        query = select(*_COLUMNS).where(*_conditions(dead, host)).order_by(callbacks.c.created, callbacks.c.task_id).limit(min(limit, MOST))
        return await self._database.read(lambda connection: [_owed(row) for row in connection.execute(query)])

    async def show(self, task: str) -> list[Owed]:
        """What is owed for a task, in the order of its states."""
        return await self._database.read(lambda connection: [_owed(row) for row in connection.execute(_OF_TASK, {"this_id": task})])

    async def resend(self, task: str) -> bool:
        """Tell this task's hook of its present state, as if for the first time: also one that has heard it, under the same webhook-id.

        False where there is no such task, or nothing to tell, or nobody.
        """
        now = await time_of(self._clock)

        def work(connection: Connection) -> bool:
            found = find(connection, [task]).get(task)
            if found is None or not found.notify_hook or found.status is Status.NOT_START:
                return False
            if not connection.execute(_OF_TASK, {"this_id": task}).all():
                outbox.record(connection, [found], now)
            _again(connection, [task], now)
            return True

        return await self._database.write(work)

    async def resend_all(self, *, dead: bool | None = None, host: str | None = None) -> int:
        """Everything that is owed, or given up, and fits. How many tasks' hooks that are; the courier sends them a few at a time."""
        now, count, after = await time_of(self._clock), 0, ""
        while True:
            query = select(callbacks.c.task_id).where(*_conditions(dead, host), callbacks.c.task_id > after, callbacks.c.trying == 0)
            query = query.distinct().order_by(callbacks.c.task_id).limit(_AT_ONCE)

            def work(connection: Connection, query: Select[str] = query) -> list[str]:
                ids = list(connection.execute(query).scalars())
                if ids:
                    _again(connection, ids, now)
                return ids

            ids = await self._database.write(work)
            count += len(ids)
            if len(ids) < _AT_ONCE:
                return count
            after = ids[-1]


def _conditions(dead: bool | None, host: str | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if dead is not None:
        found.append(callbacks.c.due.is_(None) if dead else callbacks.c.due.is_not(None))
    if host is not None:
        found.append(callbacks.c.host == host.lower())
    return found


def _again(connection: Connection, ids: list[str], now: int) -> None:
    connection.execute(_CLEAR, {"ids": ids})  # tasks before callbacks, as everybody does
    connection.execute(_AGAIN, {"ids": ids, "now": now})


def _owed(row: Row[Any]) -> Owed:
    values = row._mapping
    state: State = "dead" if values["due"] is None else "trying" if values["trying"] else "pending"
    return Owed(
        values["task_id"],
        values["task"]["status"],
        state,
        values["host"],
        values["owner"],
        values["created"],
        values["due"],
        values["attempt"],
        values["error"],
    )
