"""Tasks: accepted, claimed, advanced, ended.

Work on a task is leased: a claim gives its holder a lease and a fence number, and every write of the holder names both. A worker that was
paused or cut off past its lease finds its fence outdated and its write refused. Each commit that changes a task's status also writes the
callback that it owes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from serve_app.tasks import transitions
from serve_app.tasks.blobs import BlobExists, BlobStore
from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.task import NewTask, Status, Task, new_id

_DRAWS = 50  # of an id; a draw collides once in 1,000 times the other submits of its millisecond


class TaskStore:
    """`clock` gives milliseconds since the epoch. `max_attempts`: a task whose worker was lost that many times has failed."""

    def __init__(self, database: Database, blobs: BlobStore, *, clock: Callable[[], int] = now_ms, max_attempts: int = 3) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._max_attempts = max_attempts
        self._submits: set[asyncio.Task[Task]] = set()

    async def submit(self, new: NewTask, write_inputs: Callable[[str], Awaitable[None]]) -> Task:
        """Accept a task: its bytes first, by `write_inputs(id)`, then its row, whose commit is the acceptance.

        `write_inputs` raises BlobExists when the id is somebody else's (`BlobStore.put_inputs` does), and then a new one is drawn.
        Raises what writing raised, and then nothing is left behind. A caller that is cancelled leaves a submit that still runs to its end.
        """
        submit = asyncio.create_task(self._submit(new, write_inputs))
        self._submits.add(submit)
        submit.add_done_callback(self._submits.discard)
        return await asyncio.shield(submit)

    async def get(self, id: str) -> Task | None:
        return next(iter(await self.get_many([id])), None)

    async def get_many(self, ids: Sequence[str]) -> list[Task]:
        """The tasks that exist of these, each once, in the order of `ids`."""
        wanted = list(dict.fromkeys(ids))
        found = await self._database.read(partial(transitions.find, ids=wanted))
        return [found[id] for id in wanted if id in found]

    async def count_waiting(self) -> int:
        """Tasks that nobody has claimed, or that wait again."""
        return await self._database.read(transitions.count_waiting)

    async def count_unfinished(self) -> int:
        """Tasks that wait and tasks that are worked on."""
        return await self._database.read(transitions.count_unfinished)

    async def claim(self, owner: str, lease_s: float) -> Task | None:
        """Take the best waiting task, by mode and then by age, for `lease_s` seconds; None when there is none. Counts as an attempt.

        Any number of claimers may call at once; each task goes to one of them.
        """
        # Calls that find nothing left to do are normal, and many; they never wait for the write lock.
        if not await self._database.read(transitions.any_waiting):
            return None
        now = self._clock()
        return await self._database.write(lambda connection: transitions.claim(connection, owner, now, now + _ms(lease_s)))

    async def advance(self, task: Task, progress: int) -> bool:
        """IN_PROGRESS, `progress` percent done (at most 99, never falling). False when the task is not the caller's any more."""
        now, reached = self._clock(), min(progress, 99)
        return await self._database.write(lambda connection: transitions.advance(connection, task, reached, now))

    async def renew(self, task: Task, lease_s: float) -> bool:
        """Keep the task for another `lease_s` seconds from now. False when it is not the caller's any more."""
        until = self._clock() + _ms(lease_s)
        return await self._database.write(lambda connection: transitions.renew(connection, task, until))

    async def succeed(self, task: Task, result: str, result_name: str, properties: Mapping[str, object]) -> bool:
        """SUCCESS, with the picture under the key `result`.

        False when the task is not the caller's any more: the picture is then nobody's and may be deleted.
        """
        values = {"status": Status.SUCCESS, "progress": 100, "result": result, "result_name": result_name}
        return await self._end(task, values, properties)

    async def fail(self, task: Task, reason: str, properties: Mapping[str, object]) -> bool:
        """FAILURE for `reason`, which people read. False when the task is not the caller's any more. Raises ValueError without a reason."""
        if not reason:
            raise ValueError("a failure needs a reason")
        return await self._end(task, {"status": Status.FAILURE, "fail_reason": reason}, properties)

    async def release(self, task: Task) -> bool:
        """Let another worker have the task at once, without counting the attempt. False when it is not the caller's any more."""
        return await self._database.write(lambda connection: transitions.release(connection, task))

    async def take_expired(self, limit: int) -> int:
        """Take back up to `limit` leases that ran out, longest ago first; of these, tasks out of attempts fail.

        Returns how many tasks wait again.
        """
        now = self._clock()
        if not await self._database.read(lambda connection: transitions.any_expired(connection, now)):
            return 0
        reason = f"多次尝试失败 (given up after {self._max_attempts} attempts: the worker, or a model that it needed, was lost each time)"
        return await self._database.write(lambda connection: transitions.take_expired(connection, limit, self._max_attempts, reason, now))

    async def expire(self, owner: str) -> None:
        """Let the leases of `owner` run out now: it is known to be gone. `take_expired` does the rest."""
        now = self._clock()
        await self._database.write(lambda connection: transitions.expire(connection, owner, now))

    def age_ms(self, id: str) -> int:
        """How long ago an id was drawn; ids begin with their time."""
        return self._clock() - int(id[:13]) if id[:13].isdigit() else 0

    async def _submit(self, new: NewTask, write_inputs: Callable[[str], Awaitable[None]]) -> Task:
        for _ in range(_DRAWS):
            now = self._clock()
            task = Task(new_id(now), Status.NOT_START, 0, **asdict(new), submit_time=now)
            try:
                await write_inputs(task.id)
            except BlobExists:
                continue
            if await self._accept(task):
                return task
        raise RuntimeError(f"no free id in {_DRAWS} draws")

    async def _accept(self, task: Task) -> bool:
        """Commit the row. False when the id is that of an older task, whose inputs were gone."""

        def add(connection: Connection) -> None:
            transitions.add(connection, task)

        try:
            await self._database.write(add)
        except Exception as error:
            await self._blobs.delete_inputs(task.id)
            if isinstance(error, IntegrityError):
                return False
            raise
        return True

    async def _end(self, task: Task, values: Mapping[str, object], properties: Mapping[str, object]) -> bool:
        now, columns = self._clock(), {**values, "properties": dict(properties)}
        return await self._database.write(lambda connection: transitions.end(connection, task, columns, now))


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
