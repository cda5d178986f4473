"""What several tests of the tasks need."""

from __future__ import annotations

import itertools

from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask, Task

HOOK = "http://hook.invalid/"


class Clock:
    """Milliseconds that pass only when a test says so."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


async def no_inputs(id: str) -> None:
    """For tests of rows alone."""


def new(
    mode: str | None = None,
    hook: str | None = HOOK,
    state: str | None = None,
    owner: str = "",
    key: str | None = None,
    fingerprint: str | None = None,
) -> NewTask:
    """`key`: the idempotency key."""
    return NewTask(mode, state, hook, None, "http://localhost:8000", owner, key, fingerprint)


async def claimed(store: TaskStore, lease_s: float = 30.0) -> Task:
    task = await store.claim("worker", lease_s)
    assert task is not None
    return task


async def current(store: TaskStore, id: str) -> Task:
    task = await store.get(id)
    assert task is not None
    return task


async def walk(store: TaskStore, hook: str | None = HOOK, steps: int = 3) -> Task:
    """A task that has been through `steps` of: claimed, in progress, succeeded."""
    task = await store.submit(new(hook=hook), no_inputs)
    for step in itertools.islice(("claim", "advance", "succeed"), steps):
        if step == "claim":
            task = await claimed(store)
        elif step == "advance":
            assert await store.advance(task, 50)
        else:
            assert await store.succeed(task, f"{task.id}/a.png", f"{task.id}-a.png", {})
    return await current(store, task.id)
