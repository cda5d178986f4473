"""Pictures that came in are deleted when their task ends; this catches what a dead process left behind, and what has had its time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from serve_app.tasks.blobs import BlobStore, BlobsUnavailable
from serve_app.tasks.clock import HOUR_MS
from serve_app.tasks.orphans import Orphans
from serve_app.tasks.retention import Retention
from serve_app.tasks.store import TaskStore

# A submit writes its pictures before its row: a picture without a row is an orphan only when no submit can still be under way.
ORPHAN_MS = HOUR_MS
_PORTION = 1000


class Sweep:
    """One round of all of it. Any number of processes may sweep at once."""

    def __init__(self, store: TaskStore, blobs: BlobStore, retention: Retention, orphans: Orphans) -> None:
        self._store = store
        self._blobs = blobs
        self._retention = retention
        self._orphans = orphans

    async def run(self) -> dict[str, int]:
        """How many of what were deleted, without the zeros.

        Each part of it is tried, whatever becomes of the others; raises what went wrong first: BlobsUnavailable, DatabaseUnavailable.
        """
        parts: list[Callable[[], Awaitable[dict[str, int]]]] = [self._tidy, self._inputs, self._old, self._orphaned]
        counts: dict[str, int] = {}
        errors: list[Exception] = []
        for part in parts:
            try:
                counts |= await part()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return {name: number for name, number in counts.items() if number}

    async def _tidy(self) -> dict[str, int]:
        await self._store.tidy()
        return {}

    async def _inputs(self) -> dict[str, int]:
        return {"inputs": await sweep(self._store, self._blobs)}

    async def _old(self) -> dict[str, int]:
        removed = await self._retention.apply()
        return {"old results": removed.results, "old tasks": removed.tasks}

    async def _orphaned(self) -> dict[str, int]:
        return {"orphaned results": await self._orphans.delete()}


async def sweep(store: TaskStore, blobs: BlobStore) -> int:
    """Delete the inputs of tasks that have ended, and those of no task that are older than an hour; how many tasks' were deleted.

    What cannot be deleted while the store works is passed over, and told at the end: BlobsUnavailable.
    """
    ids = await blobs.ids_with_inputs()
    tasks = {task.id: task for some in _portions(ids) for task in await store.get_many(some)}
    spent = [id for id in ids if (tasks[id].status.terminal if id in tasks else store.age_ms(id) > ORPHAN_MS)]
    failed: BlobsUnavailable | None = None
    for id in spent:
        try:
            await blobs.delete_inputs(id)
        except BlobsUnavailable as error:
            await blobs.probe()  # while nothing can be deleted, thousands of tries would take hours
            failed = failed or BlobsUnavailable(f"the pictures of task {id} cannot be deleted: {error}")
    if failed is not None:
        raise failed
    return len(spent)


def _portions(ids: list[str]) -> Iterator[list[str]]:
    """A statement takes so many values, and no more."""
    return (ids[at : at + _PORTION] for at in range(0, len(ids), _PORTION))
