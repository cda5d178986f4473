"""tasks/room.py: how much room there is, and that no more is taken."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event

from serve_app.tasks import room
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.quota import Quota, QuotaExceeded
from serve_app.tasks.room import FLOOR, UNMEASURED, Bounds, Ended, QueueFull, bound_of, rate_of
from serve_app.tasks.store import TaskStore
from tests.tasks.common import Clock, claimed, new, no_inputs
from tests.tasks.processes import Processes

DEADLINE_S = 280.0


@pytest.fixture
def store(database: Database, blobs: BlobStore, clock: Clock) -> TaskStore:
    """One that measures."""
    return TaskStore(database, blobs, clock=clock, bounds=Bounds())


def saturated(places: int, seconds: float, count: int, seed: int = 0, waited_ms: int = 60_000) -> list[Ended]:
    """Tasks of about so many seconds each, worked on one after the other in each of so many places."""
    draw, free, ended = random.Random(seed), [0.0] * places, []
    for _ in range(count):
        start = min(free)
        finish = start + seconds * draw.uniform(0.7, 1.3)
        free[free.index(start)] = finish
        ended.append(Ended(round(1000 * start), round(1000 * finish), waited_ms=waited_ms))
    return ended[:: -1 if seed % 2 else 1]


async def work(store: TaskStore, clock: Clock, count: int, seconds: float, *, waiting: bool = False) -> None:
    """waiting: all are there from the start."""
    for _ in range(count if waiting else 0):
        await store.submit(new(), no_inputs)
    for _ in range(count):
        if not waiting:
            await store.submit(new(), no_inputs)
        task = await claimed(store)
        clock.tick(seconds)
        assert await store.succeed(task, f"{task.id}/a.png", "a.png", {})


@pytest.mark.parametrize(("places", "seconds"), [(1, 0.2), (4, 1.0), (16, 2.0), (3, 30.0)])
def test_while_tasks_wait_the_rate_is_the_throughput(places: int, seconds: float) -> None:
    for seed in range(4):
        assert rate_of(saturated(places, seconds, 200, seed)) == pytest.approx(places / seconds, rel=0.15)


def test_time_in_which_nothing_was_worked_on_does_not_count() -> None:
    ended = [Ended(n * 60_000, n * 60_000 + 500) for n in range(20)]
    assert rate_of(ended) == pytest.approx(2.0)


def test_one_task_that_took_very_long_says_nothing_about_the_others() -> None:
    ended = [*saturated(4, 1.0, 100), Ended(-3_600_000, 12_345)]
    assert rate_of(ended) == pytest.approx(4.0, rel=0.15)


def test_tasks_that_nobody_finished_take_time_and_are_not_counted() -> None:
    done, stuck = saturated(1, 1.0, 50), [Ended(n * 1000, n * 1000 + 900, made=False) for n in range(50, 100)]
    assert rate_of([*done, *stuck]) == pytest.approx(0.5, rel=0.15)
    assert rate_of([Ended(0, 280_000, made=False)] * 50) is None
    assert rate_of([Ended(0, 280_000 + n, made=False) for n in range(50)]) == 0


def test_a_few_tasks_say_nothing() -> None:
    assert rate_of([]) is None
    assert rate_of(saturated(1, 1.0, 9)) is None
    assert rate_of(saturated(1, 1.0, 10)) is not None


def overload(places: int, seconds: float, load: float, seed: int) -> tuple[int, int]:
    """An hour with `load` times the tasks that can be done, first come first served: how many were accepted, and of them ended too late."""
    draw = random.Random(seed)
    arrivals, queue, busy = [draw.expovariate(load * places / seconds)], deque[float](), list[tuple[float, float, float]]()
    ended, accepted, late, bound, looked = deque[Ended](maxlen=200), 0, 0, UNMEASURED, 0.0
    while arrivals[0] < 3600:
        now = min(arrivals[0], busy[0][0] if busy else float("inf"))
        if now - looked >= 3:
            bound, looked = bound_of(ended, DEADLINE_S), now
        if busy and busy[0][0] == now:
            _, start, submit = heapq.heappop(busy)
            made = now - submit < DEADLINE_S
            ended.append(Ended(round(1000 * start), round(1000 * now), made, round(1000 * (start - submit))))
            late += not made
        else:
            if len(queue) + len(busy) < bound:
                queue.append(now)
                accepted += 1
            arrivals[0] += draw.expovariate(load * places / seconds)
        while queue and queue[0] + DEADLINE_S <= now:
            queue.popleft()
            late += 1
        while queue and len(busy) < places:
            submit = queue.popleft()
            finish = min(now + seconds * draw.uniform(0.5, 1.5), submit + DEADLINE_S)
            heapq.heappush(busy, (finish, now, submit))
    return accepted, late


@pytest.mark.parametrize(("places", "seconds"), [(4, 1.0), (16, 2.0), (8, 2.0)])
def test_what_is_accepted_under_overload_is_finished_in_time(places: int, seconds: float) -> None:
    for seed in range(2):
        accepted, late = overload(places, seconds, 2.0, seed)
        assert accepted > 0.9 * 3600 * places / seconds, "no place is idle"
        assert late == 0


def test_the_bound_goes_below_a_thousand_only_where_tasks_had_to_wait() -> None:
    slow = partial(saturated, 1, 6.0, 60)
    assert bound_of(slow(), DEADLINE_S) == pytest.approx(0.8 * DEADLINE_S / 6, rel=0.15)
    assert bound_of(slow(waited_ms=500), DEADLINE_S) == UNMEASURED
    assert bound_of([*slow()[:20], *slow(waited_ms=500)[20:]], DEADLINE_S) == UNMEASURED
    assert bound_of(saturated(1, 60.0, 60), DEADLINE_S) == FLOOR, "never less"
    assert bound_of(saturated(16, 0.5, 200, waited_ms=0), DEADLINE_S) == pytest.approx(0.8 * DEADLINE_S * 32, rel=0.15)
    assert bound_of([], DEADLINE_S) == UNMEASURED


async def test_after_a_quiet_night_there_is_room_for_a_burst(store: TaskStore, clock: Clock) -> None:
    await work(store, clock, 40, 6.0)
    clock.tick(3)
    for _ in range(100):
        await store.submit(new(), no_inputs)
    found = await store.room()
    assert found is not None
    assert found.most == UNMEASURED


async def test_the_room_is_what_can_be_finished_by_the_deadline(store: TaskStore, clock: Clock) -> None:
    found = await store.room()
    assert found is not None
    assert (found.most, found.rate) == (UNMEASURED, None)
    await work(store, clock, 20, 0.5, waiting=True)
    clock.tick(3)
    found = await store.room()
    assert found is not None
    assert (found.most, found.most_of_key) == (448, 358)
    assert found.rate == pytest.approx(2.0)
    assert store.room_seen == found
    await work(store, clock, 18, 15.0, waiting=True)
    found = await store.room()
    assert found is not None
    assert found.most == FLOOR, "never less"
    clock.tick(600)
    found = await store.room()
    assert found is not None
    assert (found.most, found.rate) == (UNMEASURED, None), "what was long ago says nothing"


async def test_what_failed_at_once_is_no_work(store: TaskStore, clock: Clock) -> None:
    await work(store, clock, 20, 2.0)
    for _ in range(100):
        await store.submit(new(), no_inputs)
        task = await claimed(store)
        clock.tick(0.02)
        assert await store.fail(task, "没有检测到人脸 (no face)", {})
    found = await store.room()
    assert found is not None
    assert found.rate == pytest.approx(0.5)


async def test_what_waited_and_what_was_cancelled_says_nothing_about_the_rate(store: TaskStore, clock: Clock) -> None:
    await work(store, clock, 20, 0.5)
    for _ in range(30):
        await store.cancel((await store.submit(new(), no_inputs)).id)
        task = await store.submit(new(), no_inputs)
        assert (await claimed(store)).id == task.id
        await store.cancel(task.id)
    await store.submit(new(), no_inputs)
    clock.tick(280)
    assert len(await store.fail_overdue(10)) == 1
    found = await store.room()
    assert found is not None
    assert found.rate == pytest.approx(2.0)


async def test_while_the_service_was_dead_nothing_was_slow(store: TaskStore, clock: Clock) -> None:
    await work(store, clock, 20, 1.0)
    await store.submit(new(), no_inputs)
    await claimed(store)
    clock.tick(200)
    assert await store.take_expired(10) == 1
    again = await claimed(store)
    clock.tick(1)
    assert await store.succeed(again, f"{again.id}/a.png", "a.png", {})
    room = await store.room()
    assert room is not None
    assert room.rate == pytest.approx(1.0)


async def test_the_table_is_looked_at_every_few_seconds_at_most(store: TaskStore, clock: Clock, database: Database) -> None:
    looks: list[str] = []
    engine = database._engine  # type: ignore[attr-defined]

    @event.listens_for(getattr(engine, "sync_engine", engine), "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        looks.extend(["look"] * ("SELECT tasks.submit_time" in statement))

    await asyncio.gather(*(store.room() for _ in range(20)))
    for _ in range(5):
        await store.submit(new(), no_inputs)
    assert len(looks) == 1
    clock.tick(3)
    await asyncio.gather(*(store.room() for _ in range(20)))
    assert len(looks) == 2


async def test_submits_at_once_never_pass_the_bound(where: str | Path, blobs: BlobStore) -> None:
    """Of several processes, as far as their database connections go."""
    databases = [open_database(where) for _ in range(3)]
    stores = [TaskStore(database, blobs, bounds=Bounds(50)) for database in databases]
    put = partial(blobs.put_inputs, source=b"s", target=b"t")
    found = await asyncio.gather(*(stores[n % 3].submit(new(), put) for n in range(90)), return_exceptions=True)
    assert sum(isinstance(one, QueueFull) for one in found) == 40
    assert await stores[0].count_unfinished() == 50 == len(await blobs.ids_with_inputs())
    for database in databases:
        await database.close()


async def test_submits_of_one_key_at_once_never_pass_its_share(where: str | Path, blobs: BlobStore) -> None:
    databases = [open_database(where) for _ in range(3)]
    stores = [TaskStore(database, blobs, bounds=Bounds(50, key_share=0.5)) for database in databases]
    calls = (stores[n % 3].submit(new(owner="a"), no_inputs, Quota(daily=1000)) for n in range(60))
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, QuotaExceeded) for one in found) == 35
    assert (await stores[0].submit(new(owner="b"), no_inputs)).owner == "b"
    for database in databases:
        await database.close()


async def test_accepting_processes_together_stay_within_the_bound(where: str | Path, tmp_path: Path) -> None:
    processes = Processes(where, tmp_path)
    try:
        reports = [await processes.report(process) for process in [processes.start("fill", 60) for _ in range(3)]]
    finally:
        processes.end()
    database = open_database(where)
    accepted = [id for report in reports for id in report["submitted"]]
    assert len(accepted) == 100 == await TaskStore(database, BlobStore(tmp_path)).count_unfinished()
    assert sum(report["refused"] for report in reports) == 80
    await database.close()


async def test_ends_are_read_latest_first_and_not_all(database: Database, store: TaskStore, clock: Clock) -> None:
    await work(store, clock, 3, 1.0)
    found = await database.read(partial(room.last, since=clock.now - 2_000))
    assert [one.finish for one in found] == [clock.now, clock.now - 1_000]
