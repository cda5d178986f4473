"""Pictures that came in are deleted when their task ends; this catches what a dead process left behind."""

from __future__ import annotations

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.store import TaskStore

# A submit writes its pictures before its row: a picture without a row is an orphan only when no submit can still be under way.
ORPHAN_MS = 3_600_000


async def sweep(store: TaskStore, blobs: BlobStore) -> int:
    """Delete the inputs of tasks that have ended, and those of no task that are older than an hour; how many tasks' were deleted."""
    await store.tidy()
    ids = await blobs.ids_with_inputs()
    tasks = {task.id: task for task in await store.get_many(ids)}
    spent = [id for id in ids if (tasks[id].status.terminal if id in tasks else store.age_ms(id) > ORPHAN_MS)]
    for id in spent:
        await blobs.delete_inputs(id)
    return len(spent)
