"""How much a key may ask for, counted inside the transaction that accepts a task."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from serve_app.tasks.schema import tasks, unfinished, usage

_COUNT_UNFINISHED = select(func.count()).select_from(tasks).where(unfinished, tasks.c.owner == bindparam("of_owner"))
_this_day = (usage.c.key_id == bindparam("this_key"), usage.c.day == bindparam("this_day"))
_USED = select(usage.c.submits).where(*_this_day)


def _count(dialect: Any) -> Any:
    """One more submit of a key on a day; the number with it. SQLAlchemy has no upsert that serves both databases."""
    insert = dialect.insert(usage).values(key_id=bindparam("this_key"), day=bindparam("this_day"), submits=1)
    return insert.on_conflict_do_update(index_elements=["key_id", "day"], set_={"submits": usage.c.submits + 1}).returning(usage.c.submits)


_COUNT = {"sqlite": _count(sqlite), "postgresql": _count(postgresql)}


@dataclass(frozen=True, slots=True)
class Quota:
    """Submits a day, and tasks unfinished at a time; None is no limit."""

    daily: int | None = None
    concurrent: int | None = None


class QuotaExceeded(Exception):
    """The key has used up its submits of today ("daily"), or has as many unfinished tasks as it may ("concurrent")."""

    def __init__(self, kind: Literal["daily", "concurrent"]) -> None:
        super().__init__(f"the {kind} limit of the key is reached")
        self.kind = kind


def day_of(now: int) -> str:
    """YYYY-MM-DD by the server's clock of `now`, milliseconds since the epoch."""
    return time.strftime("%Y-%m-%d", time.localtime(now // 1000))


def check(connection: Connection, owner: str, quota: Quota, day: str) -> None:
    """Is there room for one more? Raises QuotaExceeded."""
    used = connection.execute(_USED, {"this_key": owner, "this_day": day}).scalar() or 0
    _within(connection, owner, quota, used)


def count(connection: Connection, owner: str, quota: Quota | None, day: str) -> None:
    """Count one more submit of this key. Raises QuotaExceeded when there is no room for it.

    The count comes first: it locks the key's row of the day, so that submits of one key pass here one by one on any database.
    """
    submits = connection.execute(_COUNT[connection.dialect.name], {"this_key": owner, "this_day": day}).scalar_one()
    if quota is not None:
        _within(connection, owner, quota, submits - 1)


def _within(connection: Connection, owner: str, quota: Quota, used: int) -> None:
    if quota.daily is not None and used >= quota.daily:
        raise QuotaExceeded("daily")
    if quota.concurrent is not None:
        open_tasks = connection.execute(_COUNT_UNFINISHED, {"of_owner": owner}).scalar_one()
        if open_tasks >= quota.concurrent:
            raise QuotaExceeded("concurrent")
