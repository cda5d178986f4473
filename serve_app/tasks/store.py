"""Tasks: accepted, claimed, advanced, ended; cancelled and deleted by their owners.

Work on a task is leased: a claim gives its holder a lease and a fence number, and every write of the holder names both. A worker that was
paused or cut off past its lease, or whose task was cancelled, finds its write refused. Each commit that changes a task's status also
writes the callback that it owes.

An `owner` is the id of a key. Calls that name one see its tasks alone; without one they see everybody's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from serve_app.tasks import query, repeats, tallies, transitions
from serve_app.tasks.blobs import BlobExists, BlobStore
from serve_app.tasks.clock import time_of
from serve_app.tasks.database import CommitUnknown, Database, DatabaseUnavailable, now_ms
from serve_app.tasks.query import Page, Query
from serve_app.tasks.quota import Quota, check, count, day_of
from serve_app.tasks.quota import QuotaExceeded as QuotaExceeded
from serve_app.tasks.repeats import IdempotencyMismatch as IdempotencyMismatch
from serve_app.tasks.room import Bounds, Meter, Room
from serve_app.tasks.room import QueueFull as QueueFull
from serve_app.tasks.room import enter as enter_room
from serve_app.tasks.task import NewTask, Status, Task, new_id

CANCELLED = "取消任务"
OVERDUE = "执行超时"

_log = logging.getLogger(__name__)
_DRAWS = 50  # of an id; a draw collides once in 1,000 times the other submits of its millisecond
_SETTLE_S = 3.0
_SETTLE_PAUSE_S = 0.05
_TROUBLE_MS = 10_000


class TaskStore:
    """clock: milliseconds since the epoch. max_attempts: a task whose worker was lost that many times has failed. deadline_s: so has one
    that has not ended so many seconds after its submit. bounds: how many unfinished tasks there may be; None: any number.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        clock: Callable[[], int] = now_ms,
        max_attempts: int = 3,
        deadline_s: float = 280.0,
        bounds: Bounds | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._max_attempts = max_attempts
        self._deadline_s = deadline_s
        self._meter = Meter(database, bounds, deadline_s, clock, (CANCELLED, OVERDUE)) if bounds else None
        self._submits: set[asyncio.Task[Task]] = set()
        self._failed: tuple[int, DatabaseUnavailable] | None = None  # the last accepting commit, when and why

    async def submit(
        self,
        new: NewTask,
        write_inputs: Callable[[str], Awaitable[None]],
        quota: Quota | None = None,
        ended: Callable[[], None] | None = None,
    ) -> Task:
        """Accept a task: its bytes first, by `write_inputs(id)`, then its row, whose commit is the acceptance.

        A submit with the idempotency key of an earlier one of the same owner makes nothing and returns the earlier one's task as it
        is now. The same commit counts the submit for its owner. `write_inputs` raises BlobExists when the id is somebody else's
        (`BlobStore.put_inputs` does), and then a new one is drawn.

        Raises QueueFull, QuotaExceeded, IdempotencyMismatch, and what writing raised, and then nothing is left behind, but for
        CommitUnknown: the task may stand then, with all that it needs. A caller that is cancelled leaves a submit that still runs to
        its end, with the pictures that it writes; `ended` is called when it is there.
        """
        submit = asyncio.create_task(self._submit(new, write_inputs, quota))
        self._submits.add(submit)
        submit.add_done_callback(self._submits.discard)
        if ended is not None:
            submit.add_done_callback(lambda _: ended())
        return await asyncio.shield(submit)

    @property
    def room_seen(self) -> Room | None:
        """`room` as it was found last, in this process."""
        return self._meter.seen if self._meter else None

    async def room(self) -> Room | None:
        """How many unfinished tasks there may be, going by what was measured a few seconds ago; None: any number."""
        return await self._meter.room() if self._meter else None

    @property
    def trouble(self) -> str | None:
        """Why the last submit could not be committed, unless that is a while ago: a database that is full can still be read."""
        if self._failed is None or self._clock() - self._failed[0] > _TROUBLE_MS:
            return None
        return str(self._failed[1])

    async def admit(self, owner: str, quota: Quota | None = None) -> int:
        """How many tasks wait. Raises QueueFull or QuotaExceeded where a submit of this owner would not be accepted now."""
        room = await self.room()
        day = day_of(await time_of(self._clock))

        def work(connection: Connection) -> int:
            unfinished = query.count_unfinished(connection)
            _admit(connection, owner, _share(owner, quota, room), room, day, unfinished)
            return unfinished - query.count_leased(connection)

        return await self._database.read(work)

    async def earlier(self, new: NewTask) -> Task | None:
        """The task that this submit would repeat; None where it would make one. Raises IdempotencyMismatch."""
        return await self._database.read(partial(repeats.first, new=new))

    async def get(self, id: str, owner: str | None = None) -> Task | None:
        return next(iter(await self.get_many([id], owner)), None)

    async def get_many(self, ids: Sequence[str], owner: str | None = None) -> list[Task]:
        """The tasks that exist of these, each once, in the order of `ids`."""
        wanted = list(dict.fromkeys(ids))
        found = await self._database.read(partial(query.find, ids=wanted, owner=owner))
        return [found[id] for id in wanted if id in found]

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

    async def cancel(self, id: str, owner: str | None = None) -> Task | None:
        """End a task that has not ended: FAILURE, whoever works on it. The task as it is then; None when there is no such task.

        Its pictures are deleted, and its worker's next write is refused. A task that has ended stays as it is.
        """
        task, cancelled = await self._cancel(id, owner)
        if cancelled:
            await self._drop_inputs(id)
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
        removed = await self._database.write(partial(transitions.remove, id=id))
        return task if removed else None

    async def claim(self, holder: str, lease_s: float) -> Task | None:
        """Take the best waiting task, by mode and then by age, for `lease_s` seconds; None when there is none. Counts as an attempt.

        A task past its deadline is never taken.

        Any number of claimers may call at once; each task goes to one of them.
        """
        # Calls that find nothing left to do are normal, and many; they never wait for the write lock.
        now = await time_of(self._clock)
        if not await self._database.read(partial(query.any_waiting, now=now)):
            return None
        return await self._database.write(lambda connection: transitions.claim(connection, holder, now, now + _ms(lease_s)))

    async def advance(self, task: Task, progress: int) -> bool:
        """IN_PROGRESS, `progress` percent done (at most 99, never falling). False when the task is not the caller's any more."""
        now, reached = await time_of(self._clock), min(progress, 99)
        return await self._database.write(lambda connection: transitions.advance(connection, task, reached, now))

    async def renew(self, task: Task, lease_s: float) -> bool:
        """Keep the task for another `lease_s` seconds from now. False when it is not the caller's any more."""
        until = await time_of(self._clock) + _ms(lease_s)
        return await self._database.write(lambda connection: transitions.renew(connection, task, until))

    async def succeed(self, task: Task, result: str, result_name: str, properties: Mapping[str, object]) -> bool:
        """SUCCESS, with the picture under the key `result`. May be repeated after CommitUnknown, with the same key.

        False when the task is not the caller's any more: the picture is then nobody's and may be deleted.
        """
        values = {"status": Status.SUCCESS, "progress": 100, "result": result, "result_name": result_name}
        return await self._end(task, values, properties)

    async def fail(self, task: Task, reason: str, properties: Mapping[str, object]) -> bool:
        """FAILURE for `reason`, which people read. May be repeated. False when the task is not the caller's any more.

        Raises ValueError without a reason.
        """
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
        now = await time_of(self._clock)
        if not await self._database.read(lambda connection: transitions.any_expired(connection, now)):
            return 0
        reason = f"多次尝试失败 (given up after {self._max_attempts} attempts: the worker, or a model that it needed, was lost each time)"
        return await self._database.write(lambda connection: transitions.take_expired(connection, limit, self._max_attempts, reason, now))

    async def fail_overdue(self, limit: int) -> list[str]:
        """End up to `limit` tasks past their deadline, waiting or worked on: FAILURE. Their ids; what came in for them may be deleted.

        The next write of a worker that has one of them is refused.
        """
        now = await time_of(self._clock)
        if not await self._database.read(lambda connection: transitions.any_overdue(connection, now)):
            return []
        reason = f"{OVERDUE} (not finished within {self._deadline_s:g} s)"
        return await self._database.write(lambda connection: transitions.fail_overdue(connection, limit, reason, now))

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

    async def _submit(self, new: NewTask, write_inputs: Callable[[str], Awaitable[None]], quota: Quota | None) -> Task:
        room = await self.room()
        quota = _share(new.owner, quota, room)
        if earlier := await self._look(new, quota, room):
            return earlier
        for _ in range(_DRAWS):
            now = await time_of(self._clock)
            task = Task(
                new_id(now),
                Status.NOT_START,
                0,
                mode=new.mode,
                state=new.state,
                notify_hook=new.notify_hook,
                instance_id=new.instance_id,
                base_url=new.base_url,
                submit_time=now,
                owner=new.owner,
                options=new.options,
                deadline=now + _ms(self._deadline_s),
            )
            try:
                await write_inputs(task.id)
            except BlobExists:
                continue
            if accepted := await self._accept(task, new, quota, room):
                return accepted
            new = replace(new, fresh=False)  # it may be its key that was taken
        raise RuntimeError(f"no free id in {_DRAWS} draws")

    async def _look(self, new: NewTask, quota: Quota | None, room: Room | None) -> Task | None:
        """What the commit will most probably find, before a byte is written."""
        if (new.idempotency_key is None or new.fresh) and room is None and (not new.owner or quota is None):
            return None
        return await self._database.read(partial(_look, new=new, quota=quota, room=room, day=day_of(await time_of(self._clock))))

    async def _accept(self, task: Task, new: NewTask, quota: Quota | None, room: Room | None) -> Task | None:
        """Commit the row, or find the one that it would repeat. None when the id is that of an older task, whose inputs were gone.

        Raises CommitUnknown where it cannot be told whether the row stands; what came in for it stays then, or it could not be worked on.
        """
        try:
            accepted = await self._database.write(partial(_enter, task=task, new=new, quota=quota, room=room))
        except CommitUnknown as error:
            accepted = await self._settle(task, new, error)
        except IntegrityError:
            await self._drop_inputs(task.id)
            return None
        except Exception as error:
            self._failed = (self._clock(), error) if isinstance(error, DatabaseUnavailable) else None
            await self._drop_inputs(task.id)
            raise
        self._failed = None
        if accepted.id != task.id:
            await self._drop_inputs(task.id)
        return accepted

    async def _settle(self, task: Task, new: NewTask, error: CommitUnknown) -> Task:
        """After a commit of which nobody knows: the row that stands, or is entered now. Raises `error` when that cannot be told in time."""
        try:
            async with asyncio.timeout(_SETTLE_S):
                pause_s = _SETTLE_PAUSE_S
                while True:
                    try:
                        return await self._database.write(partial(_enter_again, task=task, new=new))
                    except (DatabaseUnavailable, IntegrityError):  # the latter when the first commit came through at last
                        await asyncio.sleep(pause_s)
                        pause_s *= 2
        except TimeoutError:
            raise error from None

    async def _drop_inputs(self, id: str) -> None:
        try:
            await self._blobs.delete_inputs(id)
        except Exception as error:
            _log.warning("the pictures of task %s are left to the sweep: %s", id, type(error).__name__)

    async def _cancel(self, id: str, owner: str | None) -> tuple[Task | None, bool]:
        return await self._database.write(partial(transitions.cancel, id=id, owner=owner, reason=CANCELLED, now=await time_of(self._clock)))

    async def _end(self, task: Task, values: Mapping[str, object], properties: Mapping[str, object]) -> bool:
        now, columns = await time_of(self._clock), {**values, "properties": dict(properties)}
        return await self._database.write(lambda connection: transitions.end(connection, task, columns, now))


def _share(owner: str, quota: Quota | None, room: Room | None) -> Quota | None:
    """A key may have its part of the room and not more."""
    if not owner or room is None:
        return quota
    own = quota or Quota()
    return Quota(own.daily, room.most_of_key if own.concurrent is None else min(own.concurrent, room.most_of_key))


def _look(connection: Connection, new: NewTask, quota: Quota | None, room: Room | None, day: str) -> Task | None:
    """`_enter` without its writes."""
    if earlier := repeats.first(connection, new):
        return earlier
    _admit(connection, new.owner, quota, room, day, query.count_unfinished(connection) if room else 0)
    return None


def _admit(connection: Connection, owner: str, quota: Quota | None, room: Room | None, day: str, unfinished: int) -> None:
    if owner and quota is not None:
        check(connection, owner, quota, day)
    if room is not None and unfinished >= room.most:
        raise QueueFull(room.most)


def _enter(connection: Connection, task: Task, new: NewTask, quota: Quota | None, room: Room | None) -> Task:
    """The new row, or the task that it would repeat."""
    if earlier := repeats.first(connection, new):
        return earlier
    if new.owner:
        count(connection, new.owner, quota, day_of(task.submit_time))
    if room is not None:
        enter_room(connection, room.most)
    transitions.add(connection, task, new)
    return task


def _enter_again(connection: Connection, task: Task, new: NewTask) -> Task:
    """`_enter` when it may have happened already. The limits were kept then; to ask again would count the row against itself.

    The row goes first: where the first commit is still on its way, this waits for it, and then fails with IntegrityError.
    """
    if found := query.find(connection, [task.id]).get(task.id):
        return found
    if earlier := repeats.first(connection, new):
        return earlier
    transitions.add(connection, task, new)
    if new.owner:
        count(connection, new.owner, None, day_of(task.submit_time))
    return task


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
