"""What the database says: while the faults are made, and at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import asyncpg

_ALL = "select id, status, state, fail_reason, result, attempt, fence, submit_time, finish_time from tasks"
_OWED = """
    select task_id, rank, attempt, trying, due - 1000 * extract(epoch from now())::bigint as due_in_ms, error
    from callbacks order by task_id, rank desc
"""
LOOK_S = 1.0
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
ENDS = ("SUCCESS", "FAILURE")


@dataclass(frozen=True, slots=True)
class Record:
    """A row. state: the number of the submit that made it."""

    id: str
    status: str
    state: str
    fail_reason: str | None
    result: str | None
    attempt: int
    fence: int
    submit_time: int
    finish_time: int | None


@dataclass(slots=True)
class Records:
    """Looks again and again; wrong: rows that changed as none may. latest: the rows as they were last. owed: callbacks that were still
    to be made at the end, by their task.
    """

    url: str
    latest: dict[str, Record] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    looks: int = 0
    owed: dict[str, str] = field(default_factory=dict)

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(*AWAY):  # one of the faults
                await self.look()
            await asyncio.sleep(LOOK_S)

    async def nothing_owed(self, within_s: float) -> None:
        """When every hook has heard all, or the time is over; what is still owed then, the promises name."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            with contextlib.suppress(*AWAY):  # which is no end of the waiting
                self.owed = {row["task_id"]: ", ".join(f"{name} {value}" for name, value in row.items()) for row in await self._rows(_OWED)}
                if not self.owed:
                    return
            await asyncio.sleep(LOOK_S)

    async def _rows(self, query: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url, timeout=5)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close(timeout=5)

    async def look(self) -> None:
        rows = await self._rows(_ALL)
        found = {row["id"]: Record(**row) for row in rows}
        for id, before in self.latest.items():
            self._compare(before, found.get(id))
        self.latest = found
        self.looks += 1

    def _compare(self, before: Record, now: Record | None) -> None:
        if now is None:
            self.wrong.append(f"the row of task {before.id} is gone")
        elif before.status in ENDS and now != before:
            self.wrong.append(f"task {before.id} had ended and changed: {before} {now}")
        elif now.fence < before.fence:
            self.wrong.append(f"the fence of task {before.id} fell from {before.fence} to {now.fence}")
