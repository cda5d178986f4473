from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from serve_app.tasks.blobs import BlobMissing, BlobStore
from serve_app.tasks.database import Database
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask, Status, Task
from tests.tasks.common import Clock, claimed, current, new, no_inputs


async def test_a_whole_life(store: TaskStore, clock: Clock) -> None:
    asked = NewTask(mode="fast", state="fugiat", notify_hook=None, instance_id="61", base_url="http://localhost:8000")
    task = await store.submit(asked, no_inputs)
    assert (task.status, task.progress, task.submit_time, task.start_time) == (Status.NOT_START, 0, clock.now, None)
    assert await store.get(task.id) == task
    clock.tick(2)
    task = await claimed(store)
    assert (task.status, task.start_time, task.attempt, task.lease_until) == (Status.SUBMITTED, clock.now, 1, clock.now + 30_000)
    assert await store.advance(task, 40)
    clock.tick(3)
    assert await store.succeed(task, f"{task.id}/x.png", f"{task.id}-x.png", {"faces": 1})
    ended = await current(store, task.id)
    assert ended == replace(
        task,
        status=Status.SUCCESS,
        progress=100,
        finish_time=clock.now,
        result=f"{task.id}/x.png",
        result_name=f"{task.id}-x.png",
        properties={"faces": 1},
        lease_until=None,
    )
    assert (ended.mode, ended.state, ended.instance_id) == ("fast", "fugiat", "61")


async def test_the_bytes_are_there_before_the_task_is(store: TaskStore, blobs: BlobStore) -> None:
    seen: list[Task | None] = []

    async def write(id: str) -> None:
        await blobs.put_inputs(id, b"source", b"target")
        seen.append(await store.get(id))

    task = await store.submit(new(), write)
    assert seen == [None]
    assert await blobs.get(f"inputs/{task.id}/target") == b"target"


async def test_a_commit_that_fails_leaves_no_bytes(store: TaskStore, blobs: BlobStore, database: Database) -> None:
    ids: list[str] = []

    async def write(id: str) -> None:
        ids.append(id)
        await blobs.put_inputs(id, b"source", b"target")

    def forget(connection: Connection) -> None:
        connection.execute(text("drop table tasks"))

    await database.write(forget)
    with pytest.raises(DBAPIError, match=r"no such table|does not exist"):
        await store.submit(new(), write)
    for key in (f"inputs/{ids[0]}/source", f"inputs/{ids[0]}/target"):
        with pytest.raises(BlobMissing):
            await blobs.get(key)


async def test_bytes_that_cannot_be_written_make_no_task(store: TaskStore) -> None:
    async def full(id: str) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        await store.submit(new(), full)
    assert await store.count_unfinished() == 0


async def test_a_client_that_leaves_does_not_leave_half_a_submit(store: TaskStore, blobs: BlobStore) -> None:
    writing, go_on, ids = asyncio.Event(), asyncio.Event(), list[str]()

    async def write(id: str) -> None:
        ids.append(id)
        writing.set()
        await go_on.wait()
        await blobs.put_inputs(id, b"source", b"target")

    submit = asyncio.create_task(store.submit(new(), write))
    await writing.wait()
    submit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submit
    go_on.set()
    async with asyncio.timeout(5):
        while await store.count_waiting() == 0:
            await asyncio.sleep(0.01)
    assert (await claimed(store)).id == ids[0]
    assert await blobs.get(f"inputs/{ids[0]}/source") == b"source"


async def test_ids_that_collide_are_drawn_anew_and_pictures_never_mix(store: TaskStore, blobs: BlobStore) -> None:
    """The clock stands still, so that 200 tasks share 1,000 ids; some of the earlier ones have lost their inputs already."""

    async def submit(n: int) -> tuple[str, bytes]:
        mine = b"%d" % n
        task = await store.submit(new(), lambda id: blobs.put_inputs(id, mine, mine))
        if n % 4 == 0:
            await blobs.delete_inputs(task.id)
        return task.id, mine

    made = [made for start in range(0, 200, 20) for made in await asyncio.gather(*(submit(n) for n in range(start, start + 20)))]
    assert len({id for id, _ in made}) == 200 == await store.count_waiting()
    for n, (id, mine) in enumerate(made):
        if n % 4:
            assert await blobs.get(f"inputs/{id}/source") == await blobs.get(f"inputs/{id}/target") == mine


async def test_many_are_found_once_each_in_the_order_asked_for(store: TaskStore) -> None:
    ids = [(await store.submit(new(), no_inputs)).id for _ in range(3)]
    asked = [ids[2], "nope", ids[0], ids[2], ids[1]]
    assert [task.id for task in await store.get_many(asked)] == [ids[2], ids[0], ids[1]]
    assert await store.get_many([]) == []
    assert await store.get("nope") is None
    assert len(await store.get_many([*ids, *(str(n) for n in range(40_000, 45_000))])) == 3


async def test_the_best_waiting_task_goes_first(store: TaskStore, clock: Clock) -> None:
    order = ["relax", None, "turbo", None, "fast", "relax"]
    made = []
    for mode in order:
        made.append((await store.submit(new(mode), no_inputs)).id)
        clock.tick(1)
    taken = [(await claimed(store)).id for _ in order]
    assert taken == [made[n] for n in (1, 2, 3, 4, 0, 5)], "fast and turbo cost nothing, so they are worth nothing"
    assert await store.claim("worker", 30) is None


async def test_each_task_goes_to_one_claimer(store: TaskStore) -> None:
    ids = {(await store.submit(new(), no_inputs)).id for _ in range(40)}
    claims = await asyncio.gather(*(store.claim(f"worker {n}", 30) for n in range(60)))
    taken = [task.id for task in claims if task is not None]
    assert len(taken) == 40
    assert set(taken) == ids


async def test_progress_never_falls_and_reaches_100_only_at_the_end(store: TaskStore) -> None:
    await store.submit(new(), no_inputs)
    task = await claimed(store)
    for progress, shown in ((30, 30), (20, 30), (100, 99)):
        assert await store.advance(task, progress)
        assert (await current(store, task.id)).progress == shown
    assert (await current(store, task.id)).status is Status.IN_PROGRESS


async def test_an_end_is_final(store: TaskStore) -> None:
    await store.submit(new(), no_inputs)
    task = await claimed(store)
    assert await store.fail(task, "no face in the source picture", {"stage": "detect"})
    ended = await current(store, task.id)
    assert (ended.status, ended.fail_reason, ended.properties) == (Status.FAILURE, "no face in the source picture", {"stage": "detect"})
    assert not await store.succeed(task, "k/a.png", "a.png", {})
    assert not await store.fail(task, "again", {})
    assert not await store.advance(task, 50)
    assert not await store.renew(task, 60)
    assert not await store.release(task)
    assert await current(store, task.id) == ended
    assert await store.count_unfinished() == 0


async def test_a_failure_says_why(store: TaskStore) -> None:
    await store.submit(new(), no_inputs)
    with pytest.raises(ValueError, match="reason"):
        await store.fail(await claimed(store), "", {})


async def test_a_lease_that_ran_out_goes_to_another_and_the_late_worker_is_refused(store: TaskStore, clock: Clock) -> None:
    await store.submit(new(), no_inputs)
    late = await claimed(store, lease_s=30)
    assert await store.advance(late, 60)
    clock.tick(20)
    assert await store.renew(late, 30)
    clock.tick(29)
    assert await store.take_expired(10) == 0
    clock.tick(1)
    assert await store.take_expired(10) == 1
    assert not await store.succeed(late, "k/late.png", "late.png", {}), "refused even before another has it"
    waiting = await current(store, late.id)
    assert (waiting.status, waiting.progress, waiting.lease_until) == (Status.IN_PROGRESS, 60, None)
    second = await claimed(store)
    assert (second.id, second.losses, second.status) == (late.id, 1, Status.IN_PROGRESS)
    assert second.start_time == late.start_time
    for write in (
        store.succeed(late, "k/late.png", "late.png", {}),
        store.fail(late, "late", {}),
        store.begin(late),
        store.renew(late, 30),
        store.release(late),
    ):
        assert not await write
    assert await store.succeed(second, "k/second.png", "second.png", {})
    assert (await current(store, late.id)).result == "k/second.png"


async def test_a_worker_that_is_late_but_was_not_missed_may_still_commit(store: TaskStore, clock: Clock) -> None:
    await store.submit(new(), no_inputs)
    task = await claimed(store)
    clock.tick(100)
    assert await store.succeed(task, "k/a.png", "a.png", {})
    assert await store.take_expired(10) == 0


async def test_a_task_given_back_waits_again_and_the_attempt_does_not_count(store: TaskStore) -> None:
    await store.submit(new(), no_inputs)
    for _ in range(5):
        task = await claimed(store)
        assert task.losses == 0
        assert await store.begin(task)
        assert (await current(store, task.id)).attempt == 1
        assert await store.release(task)
        assert not await store.succeed(task, "k/a.png", "a.png", {})
    assert await store.count_waiting() == 1


async def test_a_worker_that_dies_before_it_begins_costs_the_task_nothing_but_the_first_time(store: TaskStore, clock: Clock) -> None:
    id = (await store.submit(new(), no_inputs)).id
    for losses in (0, 1, 1, 1, 1):
        assert (await claimed(store)).losses == losses
        assert (await current(store, id)).attempt == 1
        clock.tick(31)
        assert await store.take_expired(10) == 1


async def test_out_of_attempts(store: TaskStore, outbox: Outbox, clock: Clock) -> None:
    id = (await store.submit(new(), no_inputs)).id
    for attempt in (1, 2, 3):
        task = await claimed(store)
        assert task.losses == attempt - 1
        for _ in range(2):  # the second time as after a commit of which nobody heard
            assert await store.begin(task)
            assert (await current(store, id)).attempt == attempt
        clock.tick(31)
        assert await store.take_expired(10) == (1 if attempt < 3 else 0)
    ended = await current(store, id)
    assert (ended.status, ended.finish_time) == (Status.FAILURE, clock.now)
    assert ended.fail_reason
    assert await store.claim("worker", 30) is None
    heard = []
    while due := await outbox.claim_due(10, 30):
        heard += [callback.task.status for callback in due]
        await outbox.delivered(due[0])
    assert heard == [Status.SUBMITTED, Status.FAILURE]


async def test_the_longest_lost_are_taken_first_and_no_more_than_asked_for(store: TaskStore, clock: Clock) -> None:
    for _ in range(4):
        await store.submit(new(), no_inputs)
    leases = {(await claimed(store, lease_s=lease)).id: lease for lease in (4, 1, 3, 2)}
    clock.tick(60)
    assert await store.take_expired(2) == 2
    again = {(await claimed(store)).id for _ in range(2)}
    assert {leases[id] for id in again} == {1, 2}
    assert await store.claim("worker", 30) is None
    assert await store.take_expired(10) == 2


async def test_a_task_past_its_deadline_fails_wherever_it_stands(store: TaskStore, outbox: Outbox, blobs: BlobStore, clock: Clock) -> None:
    for _ in range(3):
        await store.submit(new(), partial(blobs.put_inputs, source=b"s", target=b"t"))
    ended, leased = [await claimed(store, lease_s=600) for _ in range(2)]
    assert ended.deadline == clock.now + 280_000
    assert await store.succeed(ended, "k/a.png", "a.png", {})
    clock.tick(279.999)
    assert await store.fail_overdue(10) == []
    late = await store.submit(new(), no_inputs)
    clock.tick(0.001)
    assert await store.held([leased]) == {leased.id}
    overdue = await store.fail_overdue(1) + await store.fail_overdue(10)
    assert len(overdue) == 2
    assert ended.id not in overdue
    assert await store.held([ended, leased]) == set()
    assert not await store.succeed(leased, "k/b.png", "b.png", {}), "the worker comes too late"
    for id in overdue:
        task = await current(store, id)
        assert (task.status, task.finish_time, task.lease_until) == (Status.FAILURE, clock.now, None)
        assert task.fail_reason == "执行超时 (not finished within 280 s)"
    assert (await claimed(store)).id == late.id
    heard = []
    while due := await outbox.claim_due(10, 30):
        heard += [callback.task.status for callback in due if callback.task.id in overdue]
        for callback in due:
            await outbox.delivered(callback)
    assert heard == [Status.FAILURE, Status.SUBMITTED, Status.FAILURE] or heard == [Status.SUBMITTED, Status.FAILURE, Status.FAILURE]


async def test_a_task_past_its_deadline_is_never_claimed(store: TaskStore, clock: Clock) -> None:
    old = await store.submit(new("fast"), no_inputs)
    clock.tick(280)
    assert await store.claim("worker", 30) is None
    young = await store.submit(new("relax"), no_inputs)
    assert (await claimed(store)).id == young.id
    assert (await current(store, old.id)).status is Status.NOT_START, "it is recovery that ends it"


async def test_which_claims_are_still_in_force(store: TaskStore, clock: Clock) -> None:
    for _ in range(4):
        await store.submit(new(), no_inputs)
    ours, cancelled, released, retaken = [await claimed(store, lease_s=lease) for lease in (60, 60, 60, 1)]
    everything = [ours, cancelled, released, retaken]
    assert await store.held(everything) == {task.id for task in everything}
    await store.cancel(cancelled.id)
    await store.release(released)
    clock.tick(2)
    assert await store.held(everything) == {ours.id, retaken.id}, "a lease that ran out is ours until it is taken back"
    await store.take_expired(10)
    again = [await claimed(store), await claimed(store)]
    assert await store.held(everything) == {ours.id}
    assert await store.held(again) == {released.id, retaken.id}
    assert await store.held([]) == set()


async def test_counts(store: TaskStore) -> None:
    for _ in range(5):
        await store.submit(new(), no_inputs)
    first, second, third = [await claimed(store) for _ in range(3)]
    assert await store.advance(first, 10)
    assert await store.succeed(second, "k/a.png", "a.png", {})
    assert third.status is Status.SUBMITTED
    assert (await store.count_waiting(), await store.count_unfinished()) == (2, 4)


async def test_the_leases_of_an_owner_that_is_gone_run_out_at_once(store: TaskStore) -> None:
    for _ in range(2):
        await store.submit(new(), no_inputs)
    lost, kept = await store.claim("gone", 30), await store.claim("alive", 30)
    assert lost is not None
    assert kept is not None
    await store.expire("gone")
    assert await store.take_expired(10) == 1
    again = await store.claim("alive", 30)
    assert again is not None
    assert again.id == lost.id
    assert not await store.renew(lost, 30)
    assert await store.renew(kept, 30)
