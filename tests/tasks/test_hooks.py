"""tasks/hooks.py: what operators see and do."""

from __future__ import annotations

import pytest

from serve_app.tasks.database import Database
from serve_app.tasks.hooks import Hooks
from serve_app.tasks.outbox import Outbox, Outcome, Verdict
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status
from tests.tasks.common import Clock, current, new, no_inputs, walk

URL = "https://user:pa55@Hook.example:8443/s3cret?token=t0ken"


@pytest.fixture
def hooks(database: Database, clock: Clock) -> Hooks:
    return Hooks(database, clock=clock)


async def bury(outbox: Outbox) -> None:
    """All that is due is refused for good."""
    for callback in await outbox.claim_due(1000, 30):
        await outbox.settle([Outcome(callback, Verdict.DEAD, error="HTTP 410")])


async def heard(outbox: Outbox) -> list[tuple[str, Status, int]]:
    found = []
    while due := await outbox.claim_due(10, 30):
        for callback in due:
            found.append((callback.task.id, callback.task.status, callback.attempt))
            await outbox.delivered(callback)
    return found


async def test_what_is_owed_and_given_up_is_listed_without_what_is_secret(
    store: TaskStore, outbox: Outbox, hooks: Hooks, clock: Clock
) -> None:
    dead = await walk(store, URL, steps=1)
    await bury(outbox)
    clock.tick(5)
    waiting = await walk(store, "http://other.example/", steps=2)
    await outbox.claim_due(10, 30)
    listed = await hooks.find()
    assert [(owed.task, owed.status, owed.state, owed.host, owed.attempts, owed.error) for owed in listed] == [
        (dead.id, "SUBMITTED", "dead", "hook.example:8443", 1, "HTTP 410"),
        (waiting.id, "SUBMITTED", "trying", "other.example", 1, None),
        (waiting.id, "IN_PROGRESS", "pending", "other.example", 0, None),
    ]
    assert not any(secret in repr(listed) for secret in ("user", "pa55", "s3cret", "t0ken"))
    assert await hooks.find(dead=True) == await hooks.find(host="HOOK.example:8443") == await hooks.show(dead.id) == listed[:1]
    assert await hooks.find(dead=False) == listed[1:]
    assert await hooks.find(limit=1) == listed[:1]
    assert await hooks.show("nope") == []
    assert await hooks.counts() == (2, clock.now, 1)


async def test_a_dead_letter_is_sent_again(store: TaskStore, outbox: Outbox, hooks: Hooks, clock: Clock) -> None:
    task = await walk(store, URL)
    await bury(outbox)
    await bury(outbox)
    assert (await current(store, task.id)).hook_error == "HTTP 410"
    clock.tick(10 * 24 * 3600)
    assert await hooks.resend(task.id)
    assert (await current(store, task.id)).hook_error is None
    assert await heard(outbox) == [(task.id, Status.SUCCESS, 1)], "as if for the first time"
    assert await hooks.counts() == (0, None, 0)


async def test_what_was_heard_is_told_once_more(store: TaskStore, outbox: Outbox, hooks: Hooks) -> None:
    task = await walk(store)
    first = await heard(outbox)
    assert await hooks.resend(task.id)
    assert await heard(outbox) == first[-1:]


async def test_what_is_being_tried_is_left_alone(store: TaskStore, outbox: Outbox, hooks: Hooks) -> None:
    task = await walk(store, steps=1)
    (callback,) = await outbox.claim_due(10, 30)
    assert await hooks.resend(task.id)
    assert await outbox.claim_due(10, 30) == []
    await outbox.delivered(callback)
    assert await heard(outbox) == []


async def test_what_cannot_be_sent(store: TaskStore, hooks: Hooks) -> None:
    silent, waiting = await walk(store, hook=None), await store.submit(new(), no_inputs)
    for task in (silent.id, waiting.id, "nope"):
        assert not await hooks.resend(task)


async def test_all_of_a_host_or_all_that_was_given_up(
    store: TaskStore, outbox: Outbox, hooks: Hooks, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.tasks.hooks._AT_ONCE", 4)
    for n in range(15):
        await walk(store, f"http://{'many' if n < 10 else 'few'}.example/{n}", steps=1)
    while await outbox.any_due():
        await bury(outbox)
    waits = await walk(store, "http://few.example/", steps=1)
    (due,) = await outbox.claim_due(1, 30)
    await outbox.failed(due, clock.now + 60_000)
    assert await hooks.resend_all(dead=True, host="few.example") == 5
    assert len(await heard(outbox)) == 5
    assert await hooks.resend_all(host="few.example") == 1
    assert await heard(outbox) == [(waits.id, Status.SUBMITTED, 1)]
    assert await hooks.resend_all(dead=True) == 10
    assert (await hooks.counts())[:3:2] == (10, 0)
    assert await hooks.resend_all(dead=True) == 0
