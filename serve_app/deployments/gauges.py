"""What only the database knows of the queue and the callbacks, as gauges: looked up now and then by one replica for all."""

from __future__ import annotations

from collections.abc import Callable

from serve_app.metrics import HOOKS_OLDEST_SECONDS, HOOKS_OWED, KEPT, OLDEST_SECONDS, ROOM, UNFINISHED, Recorder
from serve_app.tasks.clock import time_of
from serve_app.tasks.hooks import Hooks
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status


class Gauges:
    """chosen: whether this replica is the one that looks."""

    def __init__(self, store: TaskStore, hooks: Hooks, clock: Callable[[], int], record: Recorder, chosen: Callable[[], bool]) -> None:
        self._store, self._hooks, self._clock, self._record, self._chosen = store, hooks, clock, record, chosen

    async def look(self) -> None:
        """Raises DatabaseUnavailable; then there are soon no such gauges."""
        if not self._chosen():
            return
        tasks, hooks, room, now = (
            await self._store.census(),
            await self._hooks.counts(),
            await self._store.room(),
            await time_of(self._clock),
        )
        record = self._record
        record(UNFINISHED, tasks.waiting, state="waiting")
        record(UNFINISHED, tasks.working, state="working")
        record(OLDEST_SECONDS, 0 if tasks.oldest is None else max(0, now - tasks.oldest) / 1000)
        record(KEPT, tasks.succeeded, status=Status.SUCCESS)
        record(KEPT, tasks.failed, status=Status.FAILURE)
        record(HOOKS_OWED, hooks.pending, state="pending")
        record(HOOKS_OWED, hooks.dead, state="dead")
        record(HOOKS_OLDEST_SECONDS, hooks.age_s(now) or 0)
        if room is not None:
            record(ROOM, room.most)
