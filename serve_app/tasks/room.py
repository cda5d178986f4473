"""How many unfinished tasks there may be: as many as can be finished by their deadline, going by how fast tasks were finished lately."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, bindparam, func, select

from serve_app.tasks.clock import time_of
from serve_app.tasks.database import Database
from serve_app.tasks.query import count_unfinished
from serve_app.tasks.schema import finished, tasks
from serve_app.tasks.shared import Shared
from serve_app.tasks.task import Status

FLOOR = 32  # a handful of slow tasks says little about how many could be worked on at a time
UNMEASURED = 1_000
SLACK = 0.8  # the rate is that of other tasks, known to some 15 %
_WINDOW_MS = 600_000
_SAMPLE = 200
_LEAST = 10
_WAITED_MS = 1_000
_FRESH_MS = 3_000
_LOCK = 0x66616366  # any number, but always the same, and not that of the migrations
_CLOSE = 64  # more than there are commits at a time

_LAST = (
    select(tasks.c.submit_time, tasks.c.start_time, tasks.c.finish_time, tasks.c.status, tasks.c.fail_reason)
    # What was claimed again was not worked on from its start to its end: after the service was down, it says that all of it is slow.
    .where(finished, tasks.c.finish_time > bindparam("since"), tasks.c.start_time.is_not(None), tasks.c.fence == 1)
    .order_by(tasks.c.finish_time.desc(), tasks.c.id.desc())
    .limit(_SAMPLE)
)
_TAKE_TURNS = select(func.pg_advisory_xact_lock(_LOCK))


@dataclass(frozen=True, slots=True)
class Bounds:
    """max_unfinished: how many unfinished tasks there may be; None: it is measured. key_share: how much of that one key may have."""

    max_unfinished: int | None = None
    key_share: float = 0.8


@dataclass(frozen=True, slots=True)
class Room:
    """most: unfinished tasks there may be. most_of_key: of them, those of one key. rate: tasks finished a second; None: not measured."""

    most: int
    most_of_key: int
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """start, finish: milliseconds since the epoch. made: its picture was; otherwise a deadline or somebody who cancelled it ended it.
    waited_ms: for its start.
    """

    start: int
    finish: int
    made: bool = True
    waited_ms: int = 0


class QueueFull(Exception):
    """There are as many unfinished tasks as there may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} tasks are unfinished")


class Meter:
    """Says how much room there is; looks at the table at most every few seconds."""

    def __init__(self, database: Database, bounds: Bounds, deadline_s: float, clock: Callable[[], int], not_work: Sequence[str]) -> None:
        """not_work: what a fail_reason begins with that no worker gave."""
        self._database, self._bounds, self._deadline_s, self._clock = database, bounds, deadline_s, clock
        self._not_work = tuple(not_work)
        self._room = Shared(self._look, _FRESH_MS, clock)
        self.seen: Room | None = None  # as it was found last

    async def room(self) -> Room:
        """Raises DatabaseUnavailable."""
        self.seen = await self._room.get()
        return self.seen

    async def _look(self) -> Room:
        most, share = self._bounds.max_unfinished, self._bounds.key_share
        if most is not None:
            return _room(most, share, None)
        ended = await self._database.read(partial(last, since=await time_of(self._clock) - _WINDOW_MS, not_work=self._not_work))
        return _room(bound_of(ended, self._deadline_s), share, rate_of(ended))


def last(connection: Connection, since: int, not_work: tuple[str, ...] = ()) -> list[Ended]:
    """Tasks that were worked on and ended after `since`, the latest of them; without those that failed by themselves.

    A picture without a face is a matter of 20 ms and says nothing about the others.
    """
    ended = []
    for row in connection.execute(_LAST, {"since": since}):
        made = row.status == Status.SUCCESS
        if made or (row.fail_reason or "").startswith(not_work):
            ended.append(Ended(row.start_time, row.finish_time, made, row.start_time - row.submit_time))
    return ended


def bound_of(ended: Sequence[Ended], deadline_s: float) -> int:
    """How many unfinished tasks there may be, going by these, so that all are finished `deadline_s` after their submit.

    Less than UNMEASURED only where most of them had waited: otherwise places were idle, and more could have been done.
    """
    rate = rate_of(ended)
    if rate is None:
        return UNMEASURED
    waited = sum(one.waited_ms > _WAITED_MS for one in ended)
    return max(FLOOR if 2 * waited > len(ended) else UNMEASURED, int(SLACK * deadline_s * rate))


def rate_of(ended: Sequence[Ended]) -> float | None:
    """Pictures made per second of the time in which any of these was worked on; None where too few are known to tell.

    While tasks wait, that is the throughput. While none does, it is less than what the service could do: it grows with the load, up to
    that. Only what was done since the first of them ended counts: a task that was lost and made again hours long says nothing about others.
    """
    if len(ended) < _LEAST:
        return None
    by_end = sorted(ended, key=lambda one: one.finish)
    first, rest = by_end[0], by_end[1:]
    busy_ms, until = 0, first.finish
    for one in sorted(rest, key=lambda one: one.start):
        busy_ms += max(0, one.finish - max(one.start, until))
        until = max(until, one.finish)
    return 1000 * sum(one.made for one in rest) / busy_ms if busy_ms else None


def enter(connection: Connection, most: int) -> None:
    """For the transaction that adds a task: is there room for it? Where it is nearly full, such transactions go on one by one.

    Raises QueueFull.
    """
    unfinished = count_unfinished(connection)
    if connection.dialect.name == "postgresql" and unfinished < most <= unfinished + max(_CLOSE, most // 10):
        connection.execute(_TAKE_TURNS).close()
        unfinished = count_unfinished(connection)  # as those before left it
    if unfinished >= most:
        raise QueueFull(most)


def _room(most: int, share: float, rate: float | None) -> Room:
    return Room(most, max(1, int(most * share)), rate)
