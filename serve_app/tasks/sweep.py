"""Pictures that came in are deleted when their task ends; this catches what a dead process left behind, and what has had its time."""

from __future__ import annotations

from collections.abc import Iterator

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.orphans import Orphans
from serve_app.tasks.retention import Retention
from serve_app.tasks.store import TaskStore

# A submit writes its pictures before its row: a picture without a row is an orphan only when no submit can still be under way.
ORPHAN_MS = 3_600_000
_PORTION = 1000


class Sweep:
    """One round of all of it. Any number of processes may sweep at once."""

    def __init__(self, store: TaskStore, blobs: BlobStore, retention: Retention, orphans: Orphans) -> None:
        self._store = store
        self._blobs = blobs
        self._retention = retention
        self._orphans = orphans

    async def run(self) -> dict[str, int]:
        """How many of what were deleted, without the zeros. Raises BlobsUnavailable, DatabaseUnavailable."""
        inputs = await sweep(self._store, self._blobs)
        removed = await self._retention.apply()
        orphans = await self._orphans.delete()
        await self._store.tidy()
        counts = {"inputs": inputs, "old results": removed.results, "old tasks": removed.tasks, "orphaned results": orphans}
        return {name: number for name, number in counts.items() if number}


async def sweep(store: TaskStore, blobs: BlobStore) -> int:
    """Delete the inputs of tasks that have ended, and those of no task that are older than an hour; how many tasks' were deleted."""
    ids = await blobs.ids_with_inputs()
    tasks = {task.id: task for some in _portions(ids) for task in await store.get_many(some)}
    spent = [id for id in ids if (tasks[id].status.terminal if id in tasks else store.age_ms(id) > ORPHAN_MS)]
    for id in spent:
        await blobs.delete_inputs(id)
    return len(spent)


def _portions(ids: list[str]) -> Iterator[list[str]]:
    """A statement takes so many values, and no more."""
    return (ids[at : at + _PORTION] for at in range(0, len(ids), _PORTION))
