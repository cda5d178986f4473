from __future__ import annotations

import pytest
from sqlalchemy import Connection, select, update

from serve_app.tasks.database import Database
from serve_app.tasks.outbox import Callback, GivenUp, Outbox, Outcome, PutOff, Verdict
from serve_app.tasks.schema import callbacks
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status
from tests.tasks.common import Clock, claimed, current, new, no_inputs, walk


async def one_due(outbox: Outbox) -> Callback:
    (callback,) = await outbox.claim_due(10, 30)
    return callback


async def test_every_state_is_heard_in_order_as_it_was_then(store: TaskStore, outbox: Outbox) -> None:
    await walk(store)
    heard = []
    while await outbox.any_due():
        callback = await one_due(outbox)
        assert await outbox.claim_due(10, 30) == [], "the next state waits for this one"
        heard.append((callback.task.status, callback.task.progress, callback.task.finish_time is not None, callback.attempt))
        await outbox.delivered(callback)
    assert heard == [
        (Status.SUBMITTED, 0, False, 1),
        (Status.IN_PROGRESS, 50, False, 1),
        (Status.SUCCESS, 100, True, 1),
    ]


async def test_nothing_is_owed_for_an_accepted_task_nor_without_a_hook(store: TaskStore, outbox: Outbox) -> None:
    await store.submit(new(), no_inputs)
    assert not await outbox.any_due()
    assert (await claimed(store)).status is Status.SUBMITTED
    await outbox.delivered(await one_due(outbox))
    await walk(store, hook=None)
    assert not await outbox.any_due()


async def test_more_progress_in_a_state_is_not_another_callback(store: TaskStore, outbox: Outbox) -> None:
    task = await walk(store, steps=2)
    assert await store.advance(task, 80)
    for _ in range(2):
        await outbox.delivered(await one_due(outbox))
    assert not await outbox.any_due()


async def test_a_failed_try_is_made_again_in_its_time_under_the_same_id(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    await walk(store, steps=1)
    first = await one_due(outbox)
    await outbox.failed(first, clock.now + 5_000)
    clock.tick(4.9)
    assert not await outbox.any_due()
    clock.tick(0.1)
    again = await one_due(outbox)
    assert (again.webhook_id, again.attempt, again.task) == (first.webhook_id, 2, first.task)
    assert again.created == first.created


async def test_once_a_try_failed_only_the_newest_state_is_kept(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    await walk(store)
    await outbox.failed(await one_due(outbox), clock.now + 3_600_000)
    newest = await one_due(outbox)
    assert newest.task.status is Status.SUCCESS
    await outbox.delivered(newest)
    clock.tick(7200)
    assert not await outbox.any_due()


async def test_a_state_that_waits_for_its_next_try_gives_way_to_the_end(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    task = await walk(store, steps=1)
    await outbox.failed(await one_due(outbox), clock.now + 3_600_000)
    assert await store.succeed(task, "k/a.png", "a.png", {})
    end = await one_due(outbox)
    assert end.task.status is Status.SUCCESS
    await outbox.delivered(end)
    clock.tick(7200)
    assert not await outbox.any_due()


async def test_a_refused_end_stays_for_people_to_see_and_is_not_tried(
    store: TaskStore, outbox: Outbox, clock: Clock, database: Database
) -> None:
    task = await walk(store)
    for _ in range(2):
        await outbox.delivered(await one_due(outbox))
    await outbox.settle([Outcome(await one_due(outbox), Verdict.DEAD, error="HTTP 404")])
    clock.tick(10**6)
    assert not await outbox.any_due()
    query = select(callbacks.c.task_id, callbacks.c.due, callbacks.c.error)
    assert await database.read(lambda connection: connection.execute(query).all()) == [(task.id, None, "HTTP 404")]


async def test_a_courier_that_died_loses_its_callbacks_to_another(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    await walk(store)
    lost = await one_due(outbox)
    clock.tick(29)
    assert not await outbox.any_due()
    clock.tick(1)
    again = await one_due(outbox)
    assert (again.webhook_id, again.attempt) == (lost.webhook_id, 2)
    await outbox.failed(lost, None)
    await outbox.settle([Outcome(lost, Verdict.RETURNED)])
    assert not await outbox.any_due(), "the late courier says nothing about the second try"
    await outbox.delivered(again)
    assert (await one_due(outbox)).task.status is Status.IN_PROGRESS


async def test_a_try_handed_back_drops_nothing(store: TaskStore, outbox: Outbox) -> None:
    task = await walk(store, steps=1)
    first = await one_due(outbox)
    await outbox.settle([Outcome(first, Verdict.RETURNED)])
    assert await store.advance(task, 10)
    again = await one_due(outbox)
    assert (again.webhook_id, again.attempt) == (first.webhook_id, 2)
    await outbox.delivered(again)
    assert (await one_due(outbox)).task.status is Status.IN_PROGRESS


async def test_a_later_try_under_way_is_not_overtaken(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    task = await walk(store, steps=1)
    await outbox.failed(await one_due(outbox), clock.now)
    second = await one_due(outbox)
    assert await store.advance(task, 10)
    assert not await outbox.any_due()
    await outbox.delivered(second)
    assert (await one_due(outbox)).task.status is Status.IN_PROGRESS


async def test_a_try_is_settled_once(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    await walk(store, steps=1)
    callback = await one_due(outbox)
    await outbox.failed(callback, clock.now)
    await outbox.failed(callback, None)
    assert (await one_due(outbox)).attempt == 2


async def test_what_is_due_says_whose_it_is_and_where_it_goes_and_no_more(store: TaskStore, outbox: Outbox) -> None:
    task = await walk(store, hook="https://user:pw@Quiet.example:8443/hook?x=1", steps=1)
    (due,) = await outbox.due(10)
    assert (due.task_id, due.host, due.owner, due.attempt) == (task.id, "quiet.example:8443", "", 0)
    (callback,) = await outbox.commit(take=[due], lease_s=30)
    assert not any(secret in repr([due, callback]) for secret in ("pw", "hook?x"))


async def test_of_two_couriers_that_saw_the_same_row_one_has_it(store: TaskStore, outbox: Outbox) -> None:
    await walk(store, steps=1)
    seen = await outbox.due(10)
    assert len(await outbox.commit(take=seen, lease_s=30)) == 1
    assert await outbox.commit(take=seen, lease_s=30) == []
    await outbox.commit(put_off=[PutOff(seen[0], 0)], given_up=[GivenUp(seen[0], "late")])
    assert await outbox.due(10) == [], "nor does the other put it off or give it up"


async def test_states_that_wait_for_an_older_one_are_not_looked_at(
    store: TaskStore, outbox: Outbox, database: Database, clock: Clock
) -> None:
    """However much is pending, what is due is little: a look reads no more than that."""

    async def due_now() -> int:
        query = select(callbacks.c.rank).where(callbacks.c.due <= clock.now)
        return len(await database.read(lambda connection: connection.execute(query).all()))

    task = await walk(store, steps=2)
    first = await one_due(outbox)
    assert await due_now() == 0
    assert await store.succeed(task, "k/a.png", "a.png", {})
    assert await due_now() == 0
    await outbox.delivered(first)
    second = await one_due(outbox)
    assert second.task.status is Status.IN_PROGRESS
    await outbox.delivered(second)
    assert (await one_due(outbox)).task.status is Status.SUCCESS


async def test_a_state_that_is_put_off_for_its_hosts_failures_gives_way_to_the_newest(
    store: TaskStore, outbox: Outbox, clock: Clock
) -> None:
    task = await walk(store, steps=2)
    await outbox.commit(put_off=[PutOff(due, clock.now + 60_000, "HTTP 500") for due in await outbox.due(10)])
    assert await outbox.due(10) == []
    clock.tick(60)
    (newest,) = await outbox.due(10)
    assert (newest.task_id, newest.rank, newest.attempt) == (task.id, Status.IN_PROGRESS.rank, 0)
    await outbox.commit(put_off=[PutOff(newest, clock.now + 60_000, "HTTP 500")])
    assert await store.succeed(task, "k/a.png", "a.png", {})
    (end,) = await outbox.due(10)
    assert end.rank == Status.SUCCESS.rank, "it is news, and is not put off with the others"


@pytest.mark.parametrize("why", [None, "HTTP 500"])
async def test_who_puts_off_a_row_that_another_has_had_meanwhile_says_nothing(
    store: TaskStore, outbox: Outbox, clock: Clock, why: str | None
) -> None:
    await walk(store)
    (seen,) = await outbox.due(10)
    await outbox.delivered(await one_due(outbox))
    too_late = [PutOff(seen, clock.now + 60_000, why)]
    await outbox.commit(put_off=too_late)
    second = await one_due(outbox)
    await outbox.commit(put_off=too_late)
    await outbox.failed(second, clock.now)
    end = await one_due(outbox)
    assert end.task.status is Status.SUCCESS


async def test_a_state_that_is_put_off_for_want_of_a_place_is_heard_before_the_next(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    await walk(store)
    await outbox.commit(put_off=[PutOff(due, clock.now + 1_000) for due in await outbox.due(10)])
    clock.tick(1)
    heard = []
    while await outbox.any_due():
        heard.append((callback := await one_due(outbox)).task.status)
        await outbox.delivered(callback)
    assert heard == [Status.SUBMITTED, Status.IN_PROGRESS, Status.SUCCESS]


async def test_why_a_hook_was_given_up_is_told_of_the_task_until_its_end_is_heard(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    task = await walk(store, steps=1)
    await outbox.settle([Outcome(await one_due(outbox), Verdict.DEAD, error="HTTP 404")])
    assert (await current(store, task.id)).hook_error == "HTTP 404"
    assert await store.advance(task, 5)
    assert await store.succeed(task, "k/a.png", "a.png", {"family": "test"})
    ended = await current(store, task.id)
    assert (ended.hook_error, ended.properties) == ("HTTP 404", {"family": "test"}), "the end does not write over it"
    while await outbox.any_due():
        await outbox.delivered(await one_due(outbox))
    assert (await current(store, task.id)).hook_error is None


async def test_a_row_that_is_given_up_untried_is_a_dead_letter(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    task = await walk(store)
    await outbox.commit(put_off=[PutOff(due, clock.now + 1_000, "HTTP 500") for due in await outbox.due(10)])
    clock.tick(10)
    await outbox.commit(given_up=[GivenUp(due, "HTTP 500") for due in await outbox.due(10)])
    clock.tick(10**6)
    assert await outbox.due(10) == []
    assert (await current(store, task.id)).hook_error == "HTTP 500"


async def test_a_snapshot_of_another_release_is_still_read(store: TaskStore, outbox: Outbox, database: Database) -> None:
    task = await walk(store, steps=1)

    def change(connection: Connection) -> None:
        snapshot = connection.execute(select(callbacks.c.task)).scalar_one()
        snapshot["gone_since"] = 1
        del snapshot["properties"]
        connection.execute(update(callbacks).values(task=snapshot))

    await database.write(change)
    assert (await one_due(outbox)).task == task


@pytest.mark.parametrize("limit", [0, 1, 2])
async def test_no_more_are_claimed_than_asked_for(store: TaskStore, outbox: Outbox, limit: int) -> None:
    for _ in range(3):
        await walk(store, steps=1)
    assert len(await outbox.claim_due(limit, 30)) == limit
