"""How tasks get in: their bytes first, then their row, whose commit is the acceptance.

What is refused leaves nothing behind. Where nobody knows whether a commit happened, the same row is entered again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from serve_app.metrics import TASKS_ACCEPTED, Recorder, unrecorded
from serve_app.tasks import query, repeats, transitions
from serve_app.tasks.blobs import BlobExists, BlobStore
from serve_app.tasks.clock import ms, time_of
from serve_app.tasks.database import CommitUnknown, Database, DatabaseUnavailable, now_ms
from serve_app.tasks.quota import Quota, check, count, day_of
from serve_app.tasks.reasons import CANCELLED, OVERDUE
from serve_app.tasks.room import Bounds, Meter, QueueFull, Room
from serve_app.tasks.room import enter as enter_room
from serve_app.tasks.task import NewTask, Status, Task, new_id

_DRAWS = 50  # of an id; a draw collides once in 1,000 times the other submits of its millisecond
_SETTLE_S = 3.0
_SETTLE_PAUSE_S = 0.05
_TROUBLE_MS = 10_000


class Acceptance:
    """clock: milliseconds since the epoch. deadline_s: a task fails that has not ended so many seconds after its submit.
    bounds: how many unfinished tasks there may be; None: any number. record: told of what happens to tasks.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        clock: Callable[[], int] = now_ms,
        deadline_s: float = 280.0,
        bounds: Bounds | None = None,
        record: Recorder = unrecorded,
    ) -> None:
        self._record = record
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self.bound(deadline_s, bounds)
        self._submits: set[asyncio.Task[Task]] = set()
        self._failed: tuple[int, DatabaseUnavailable] | None = None  # the last accepting commit, when and why

    def bound(self, deadline_s: float, bounds: Bounds | None) -> None:
        """For the submits that come; what was accepted keeps its deadline."""
        self._deadline_s = deadline_s
        self._meter = Meter(self._database, bounds, deadline_s, self._clock, (CANCELLED, OVERDUE)) if bounds else None

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
                traceparent=new.traceparent,
                deadline=now + ms(self._deadline_s),
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
            await self._blobs.discard_inputs(task.id)
            return None
        except Exception as error:
            self._failed = (self._clock(), error) if isinstance(error, DatabaseUnavailable) else None
            await self._blobs.discard_inputs(task.id)
            raise
        self._failed = None
        if accepted.id == task.id:
            self._record(TASKS_ACCEPTED)
        else:
            await self._blobs.discard_inputs(task.id)
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
