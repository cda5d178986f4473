"""Tasks: accepted, claimed, advanced, ended; cancelled and deleted by their owners.

Work on a task is leased: a claim gives its holder a lease and a fence number, and every write of the holder names both. A worker that was
paused or cut off past its lease, or whose task was cancelled, finds its write refused. Each commit that changes a task's status also
writes the callback that it owes.

An `owner` is the id of a key. Calls that name one see its tasks alone; without one they see everybody's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from serve_app.metrics import TASK_SECONDS, TASKS_ENDED, TASKS_TAKEN_BACK, Recorder, unrecorded
from serve_app.tasks import query, reasons, tallies, transitions
from serve_app.tasks.acceptance import Acceptance
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.census import Census, census
from serve_app.tasks.clock import ms, time_of
from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.query import Page, Query
from serve_app.tasks.reasons import Cause
from serve_app.tasks.room import Bounds
from serve_app.tasks.task import Status, Task
from serve_app.tasks.turns import RELAX_EVERY


class TaskStore(Acceptance):
    """max_attempts: a task whose worker was lost that many times has failed. The others are those of Acceptance."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        clock: Callable[[], int] = now_ms,
        max_attempts: int = 3,
        deadline_s: float = 280.0,
        bounds: Bounds | None = None,
        record: Recorder = unrecorded,
    ) -> None:
        super().__init__(database, blobs, clock=clock, deadline_s=deadline_s, bounds=bounds, record=record)
        self._max_attempts = max_attempts
        self._claims = itertools.count(1)

    async def get(self, id: str, owner: str | None = None) -> Task | None:
        return next(iter(await self.get_many([id], owner)), None)

    async def get_many(self, ids: Sequence[str], owner: str | None = None) -> list[Task]:
        """The tasks that exist of these, each once, in the order of `ids`."""
        wanted = list(dict.fromkeys(ids))
        found = await self._database.read(partial(query.find, ids=wanted, owner=owner))
        return [found[id] for id in wanted if id in found]

    async def unfinished_among(self, ids: Sequence[str]) -> set[str]:
        """Those of these tasks that wait or are worked on. Their rows are not fetched."""
        return await self._database.read(partial(query.unfinished_among, ids=ids))

    async def unfinished(self, owner: str | None = None, limit: int = 1000) -> list[Task]:
        """Tasks that wait and tasks that are worked on, oldest first."""
        return await self._database.read(partial(query.list_unfinished, owner=owner, limit=limit))

    async def newest(self, owner: str | None = None, limit: int = 100) -> list[Task]:
        """Newest first."""
        return await self._database.read(partial(query.list_newest, owner=owner, limit=limit))

    async def query(self, wanted: Query, owner: str | None = None) -> Page:
        return await self._database.read(partial(query.search, query=wanted, owner=owner))

    async def count_waiting(self) -> int:
        """Tasks that nobody has claimed, or that wait again."""
        return await self._database.read(query.count_waiting)

    async def count_unfinished(self) -> int:
        """Tasks that wait and tasks that are worked on."""
        return await self._database.read(query.count_unfinished)

    async def census(self) -> Census:
        return await self._database.read(census)

    async def cancel(self, id: str, owner: str | None = None) -> Task | None:
        """End a task that has not ended: FAILURE, whoever works on it. The task as it is then; None when there is no such task.

        Its pictures are deleted, and its worker's next write is refused. A task that has ended stays as it is.
        """
        task, cancelled = await self._cancel(id, owner)
        if cancelled:
            await self._blobs.discard_inputs(id)
        return task

    async def delete(self, id: str, owner: str | None = None) -> Task | None:
        """Cancel where it has not ended, then delete pictures, callbacks and row. What was deleted; None when there is no such task.

        The row goes last: a delete that raised, or died, may be made again and deletes the rest.
        """
        task, _ = await self._cancel(id, owner)  # an ended task changes no more, so its result is known from here on
        if task is None:
            return None
        await self._blobs.delete_inputs(id)
        if task.result:
            await self._blobs.delete(task.result)
        removed = await self._database.write(partial(transitions.remove, ids=[id]))
        return task if removed else None

    async def claim(self, holder: str, lease_s: float) -> Task | None:
        """Take the best waiting task for `lease_s` seconds; None when there is none. Counts as an attempt where it is the
        task's first; `begin` counts the others.

        Interactive tasks go before those of the mode relax, but for every tenth claim of this store; among them keys take turns by their
        weights (see turns.py), each with its oldest task. A task past its deadline is never taken.

        Any number of claimers may call at once; each task goes to one of them.
        """
        # Calls that find nothing left to do are normal, and many; they never wait for the write lock.
        now = await time_of(self._clock)
        if not await self._database.read(partial(query.any_waiting, now=now)):
            return None
        relax_first = next(self._claims) % RELAX_EVERY == 0
        return await self._database.write(
            lambda connection: transitions.claim(connection, holder, now, now + ms(lease_s), relax_first=relax_first)
        )

    async def begin(self, task: Task) -> bool:
        """The work on a claimed task begins: an attempt, which counts unless it is given back. False when it is not the caller's any more.

        A worker that claims a task again may so wait for the right moment; what dies until then costs the task nothing. May be repeated.
        """
        return await self._database.write(partial(transitions.begin, task=task))

    async def advance(self, task: Task, progress: int) -> bool:
        """IN_PROGRESS, `progress` percent done (at most 99, never falling). False when the task is not the caller's any more."""
        now, reached = await time_of(self._clock), min(progress, 99)
        return await self._database.write(lambda connection: transitions.advance(connection, task, reached, now))

    async def renew(self, task: Task, lease_s: float) -> bool:
        """Keep the task for another `lease_s` seconds from now. False when it is not the caller's any more."""
        until = await time_of(self._clock) + ms(lease_s)
        return await self._database.write(lambda connection: transitions.renew(connection, task, until))

    async def succeed(self, task: Task, result: str, result_name: str, properties: Mapping[str, object]) -> bool:
        """SUCCESS, with the picture under the key `result`. May be repeated after CommitUnknown, with the same key.

        False when the task is not the caller's any more: the picture is then nobody's and may be deleted.
        """
        values = {"status": Status.SUCCESS, "progress": 100, "result": result, "result_name": result_name}
        return await self._end(task, values, properties)

    async def fail(self, task: Task, reason: str, properties: Mapping[str, object], cause: Cause = Cause.INTERNAL) -> bool:
        """FAILURE for `reason`, which people read; `cause` is its class. May be repeated. False when the task is not the caller's any more.

        Raises ValueError without a reason.
        """
        if not reason:
            raise ValueError("a failure needs a reason")
        return await self._end(task, {"status": Status.FAILURE, "fail_reason": reason}, properties, cause)

    async def release(self, task: Task) -> bool:
        """Let another worker have the task at once, and do not count the attempt. `task` is as it was claimed.

        False when it is not the caller's any more.
        """
        return await self._database.write(lambda connection: transitions.release(connection, task))

    async def take_expired(self, limit: int) -> int:
        """Take back up to `limit` leases that ran out, longest ago first; of these, tasks out of attempts fail.

        Returns how many tasks wait again.
        """
        now = await time_of(self._clock)
        if not await self._database.read(lambda connection: transitions.any_expired(connection, now)):
            return 0
        reason = reasons.worn_out(self._max_attempts)
        again, spent = await self._database.write(
            lambda connection: transitions.take_expired(connection, limit, self._max_attempts, reason, now)
        )
        if again:
            self._record(TASKS_TAKEN_BACK, again)
        self._failed_so(Cause.WORN_OUT, spent)
        return again

    async def fail_overdue(self, limit: int) -> list[str]:
        """End up to `limit` tasks past their deadline, waiting or worked on: FAILURE. Their ids; what came in for them may be deleted.

        The next write of a worker that has one of them is refused.
        """
        now = await time_of(self._clock)
        if not await self._database.read(lambda connection: transitions.any_overdue(connection, now)):
            return []
        ids = await self._database.write(lambda connection: transitions.fail_overdue(connection, limit, reasons.overdue, now))
        self._failed_so(Cause.OVERDUE, len(ids))
        return ids

    async def held(self, tasks: Sequence[Task]) -> set[str]:
        """Ids of those of these claims that are still in force: not ended, not cancelled, not taken back."""
        return await self._database.read(partial(query.held, claimed=list(tasks)))

    async def expire(self, holder: str) -> None:
        """Let the leases of `holder` run out now: it is known to be gone. `take_expired` does the rest."""
        now = await time_of(self._clock)
        await self._database.write(lambda connection: transitions.expire(connection, holder, now))

    async def tidy(self) -> None:
        """What has to be done now and then: pages stay fast, and tasks that an older release accepted get a deadline. Any process may."""
        if await self._database.read(transitions.any_unlimited):
            await self._database.write(transitions.limit_all)
        while await self._database.read(tallies.many_rows):
            await self._database.write(tallies.add_up)

    def age_ms(self, id: str) -> int:
        """How long ago an id was drawn; ids begin with their time."""
        return self._clock() - int(id[:13]) if id[:13].isdigit() else 0

    async def _cancel(self, id: str, owner: str | None) -> tuple[Task | None, bool]:
        now = await time_of(self._clock)
        task, cancelled = await self._database.write(partial(transitions.cancel, id=id, owner=owner, reason=reasons.CANCELLED, now=now))
        self._failed_so(Cause.CANCELLED, int(cancelled))
        return task, cancelled

    async def _end(self, task: Task, values: Mapping[str, object], properties: Mapping[str, object], cause: str = "") -> bool:
        now, columns = await time_of(self._clock), {**values, "properties": dict(properties)}
        ended = await self._database.write(lambda connection: transitions.end(connection, task, columns, now))
        if ended:
            status = str(values["status"])
            self._record(TASKS_ENDED, status=status, reason=cause)
            self._record(TASK_SECONDS, (now - task.submit_time) / 1000, status=status)
        return ended

    def _failed_so(self, cause: Cause, number: int) -> None:
        if number:
            self._record(TASKS_ENDED, number, status=Status.FAILURE, reason=cause)
