"""SwapPipeline with the real deployments of family `fake` behind it, in one process: what it does with a task that it lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest

from serve_app.deployments.detector import FaceDetector
from serve_app.deployments.pipeline import SwapPipeline
from serve_app.deployments.swapper import FaceSwapper
from serve_app.secrets import Secrets, database_of
from serve_app.settings import PipelineSettings, Settings
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import open_database
from serve_app.tasks.reasons import CANCELLED, OVERDUE
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask, Status, Task
from tests.pictures import ASTRONAUT, HANKS
from tests.postgres import Postgres
from tests.tasks.databases import migrated

LARGE = cv2.imencode(".png", np.zeros((1000, 1500, 3), np.uint8))[1].tobytes()  # 1.5 megapixels


class Handle:
    """A deployment handle onto an object of this process. `before` is told of each call, and may keep it waiting."""

    def __init__(self, deployment: Any, before: Callable[[str], Awaitable[None]]) -> None:
        self._deployment = deployment
        self._before = before
        self.deployment_name = type(deployment).__name__

    def __getattr__(self, method: str) -> Handle:
        called = Handle(self._deployment, self._before)
        called.remote = lambda *arguments: asyncio.ensure_future(self._call(method, *arguments))
        return called

    remote: Callable[..., asyncio.Future[Any]]

    async def _call(self, method: str, *arguments: Any) -> Any:
        await self._before(method)
        return await getattr(self._deployment, method)(*arguments)


class Service:
    """A pipeline, and a store as Ingress has one. `at[method]` is awaited before that call of a model."""

    def __init__(self, settings: Settings, deadline_s: float = 280.0) -> None:
        where = database_of(settings, Secrets())
        migrated(where)
        self.calls: list[str] = []
        self.at: dict[str, Callable[[], Awaitable[object]]] = {}
        detector, swapper = FaceDetector(settings), FaceSwapper(settings)
        self.pipeline = SwapPipeline(settings, cast(Any, Handle(detector, self._before)), cast(Any, Handle(swapper, self._before)))
        self.blobs = BlobStore(settings.blobs)
        self.database = open_database(where)
        self.store = TaskStore(self.database, self.blobs, deadline_s=deadline_s)
        self.folder = settings.blobs

    async def _before(self, method: str) -> None:
        self.calls.append(method)
        if method in self.at:
            await self.at[method]()

    async def submit(self, target: bytes | None = None) -> Task:
        write = partial(self.blobs.put_inputs, source=HANKS.read_bytes(), target=target or ASTRONAUT.read_bytes())
        return await self.store.submit(NewTask(None, None, None, None, "http://b"), write)

    async def ended(self, task: Task) -> Task:
        ended = await self.store.get(task.id)
        assert ended is not None
        assert ended.status.terminal, ended
        return ended

    async def close(self) -> None:
        await self.database.close()
        await self.pipeline._store._database.close()  # a replica's ends with its process

    def files(self) -> list[str]:
        return [path.name for path in self.folder.rglob("[!.]*") if path.is_file()]


class Lock:
    """The right to write into a SQLite file: nobody else's transactions begin while it is held."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)

    async def take(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("begin immediate")

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def locked(service: Service) -> Iterator[Lock]:
    lock = Lock(service.folder.parent / "tasks.db")
    try:
        yield lock
    finally:
        lock.close()


@pytest.fixture
def _our_logging() -> Iterator[None]:
    """As it was: a replica takes the records of all our loggers for Serve's files."""
    ours = logging.getLogger("serve_app")
    handlers, level, propagate = ours.handlers, ours.level, ours.propagate
    yield
    ours.handlers, ours.propagate = handlers, propagate
    ours.setLevel(level)


@pytest.fixture
async def make(tmp_path: Path, _our_logging: None) -> AsyncIterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(deadline_s: float = 280.0, **pipeline: float) -> Service:
        made.append(Service(Settings(family="fake", data_dir=tmp_path, pipeline=PipelineSettings.model_validate(pipeline)), deadline_s))
        return made[-1]

    yield make
    for service in made:
        await service.close()


@pytest.fixture
def service(make: Callable[..., Service]) -> Service:
    return make(lease_s=0.4, renew_s=0.05)


async def test_a_task_that_nobody_touches_succeeds(service: Service) -> None:
    task = await service.submit()
    assert await service.pipeline.run_next("ticket")
    ended = await service.store.get(task.id)
    assert ended is not None
    assert ended.status is Status.SUCCESS
    assert service.files() == [ended.result_name]
    assert not await service.pipeline.run_next("ticket")


@pytest.mark.parametrize("call", ["detect", "identify", "swap"])
@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_task_that_is_cancelled_while_it_runs_never_succeeds_and_leaves_nothing(service: Service, call: str, how: str) -> None:
    task = await service.submit()
    requests: list[asyncio.Task[Task | None]] = []

    async def end() -> None:
        requests.append(asyncio.create_task(getattr(service.store, how)(task.id)))
        await asyncio.wait(requests)  # or until the pipeline has noticed, and leaves this call

    service.at[call] = end
    assert await service.pipeline.run_next("ticket")
    assert await requests[0]
    ended = await service.store.get(task.id)
    if how == "delete":
        assert ended is None
    else:
        assert ended is not None
        assert (ended.status, ended.fail_reason) == (Status.FAILURE, CANCELLED)
    assert service.files() == []


async def test_a_cancelled_task_costs_no_model_call_after_the_step_that_it_is_in(service: Service) -> None:
    task = await service.submit()
    service.at["detect"] = lambda: service.store.cancel(task.id)
    assert await service.pipeline.run_next("ticket")
    assert service.calls == ["info", "info", "detect"], "and once what the models are"


async def test_a_model_call_that_lasts_is_left_when_the_task_is_cancelled(service: Service) -> None:
    task = await service.submit()
    left, cancels = asyncio.Event(), list[asyncio.Task[object]]()

    async def never() -> None:
        try:
            cancels.append(asyncio.create_task(service.store.cancel(task.id)))  # somebody else's: it goes on when this call is left
            await asyncio.Event().wait()
        finally:
            left.set()

    service.at["swap"] = never
    async with asyncio.timeout(10):
        assert await service.pipeline.run_next("ticket"), "the pipeline is free for the next task"
    assert left.is_set()
    await cancels[0]
    assert service.files() == []
    other = await service.submit()
    service.at.clear()
    assert await service.pipeline.run_next("ticket")
    ended = await service.store.get(other.id)
    assert ended is not None
    assert ended.status is Status.SUCCESS


async def test_a_call_that_is_cancelled_gives_its_task_back(service: Service) -> None:
    """As when a replica drains: the task is nobody's fault, and waits again."""
    task = await service.submit()
    began = asyncio.Event()

    async def never() -> None:
        began.set()
        await asyncio.Event().wait()

    service.at["swap"] = never
    call = asyncio.create_task(service.pipeline.run_next("ticket"))
    await began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    waiting = await service.store.get(task.id)
    assert waiting is not None
    assert (waiting.attempt, waiting.lease_until, waiting.finish_time) == (0, None, None)
    service.at.clear()
    assert await service.pipeline.run_next("ticket")
    assert len(service.files()) == 1


async def test_a_call_that_is_cancelled_during_its_commit_leaves_no_half_of_it(
    make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make()
    task = await service.submit()
    store, committing = service.pipeline._store, asyncio.Event()
    succeed = store.succeed

    async def commit(*arguments: Any) -> bool:
        committing.set()
        return await succeed(*arguments)

    monkeypatch.setattr(store, "succeed", commit)
    with locked(service) as lock:
        service.at["swap"] = lock.take  # the last call before the picture is stored
        call = asyncio.create_task(service.pipeline.run_next("ticket"))
        async with asyncio.timeout(10):
            await committing.wait()
        call.cancel()
        done, _ = await asyncio.wait([call], timeout=0.2)
        assert not done, "the commit comes first"
    with pytest.raises(asyncio.CancelledError):
        await call
    ended = await service.ended(task)
    assert ended.status is Status.SUCCESS
    assert ended.result_name in service.files()


async def test_a_result_that_comes_too_late_is_refused_and_deleted(make: Callable[..., Service], caplog: pytest.LogCaptureFixture) -> None:
    """Its lease ran out while it stored the picture, and another has made the task already."""
    service = make()
    task = await service.submit()
    ours = asyncio.Event()

    async def overtaken() -> None:
        await service.store.expire("late")
        await service.store.take_expired(10)
        service.at.clear()
        assert await service.pipeline.run_next("early")
        ours.set()

    service.at["swap"] = overtaken
    logging.getLogger("serve_app").addHandler(caplog.handler)
    assert await service.pipeline.run_next("late")
    assert ours.is_set()
    ended = await service.ended(task)
    assert (ended.status, ended.fence) == (Status.SUCCESS, 2)
    assert service.files() == [ended.result_name]
    assert f"task {task.id}: its result was refused, for it is not ours any more; deleting it" in caplog.messages


async def test_one_read_a_second_finds_all_tasks_that_were_cancelled(make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    service = make()  # a renewal would find it after 10 s
    tasks = [await service.submit() for _ in range(3)]
    reads: list[int] = []
    held = service.pipeline._store.held

    async def counted(asked: Sequence[Task]) -> set[str]:
        reads.append(len(asked))
        return await held(asked)

    monkeypatch.setattr(service.pipeline._store, "held", counted)
    service.at["swap"] = asyncio.Event().wait
    calls = [asyncio.create_task(service.pipeline.run_next(f"ticket {number}")) for number in range(3)]
    while service.calls.count("swap") < 3:
        await asyncio.sleep(0.01)
    for task in tasks[:2]:
        await service.store.cancel(task.id)
    reads.clear()
    async with asyncio.timeout(5):
        done, left = await asyncio.wait(calls, timeout=1.9)
    assert (len(done), len(left)) == (2, 1), "the one that was not cancelled goes on"
    assert reads[0] == 3
    assert len(reads) <= 2
    await service.store.cancel(tasks[2].id)
    await asyncio.wait_for(asyncio.gather(*left), 5)
    assert service.files() == []


async def test_a_task_that_is_not_done_by_its_deadline_fails_and_its_models_are_left(make: Callable[..., Service]) -> None:
    service = make(deadline_s=1.0)
    task = await service.submit()
    left = asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    service.at["swap"] = never
    assert await asyncio.wait_for(service.pipeline.run_next("ticket"), 10)
    ended = await service.ended(task)
    assert (ended.status, ended.fail_reason) == (Status.FAILURE, f"{OVERDUE} (not finished within 1 s)")
    assert left.is_set()
    assert service.files() == []


async def test_large_pictures_go_one_after_the_other(make: Callable[..., Service]) -> None:
    service = make(max_megapixels=2, in_flight=3)
    now, peak = 0, 0

    async def look() -> None:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.1)  # time for the others, if they could
        now -= 1

    service.at["detect"] = look
    tasks = [await service.submit(LARGE) for _ in range(3)]
    assert await asyncio.gather(*(service.pipeline.run_next(f"ticket {number}") for number in range(3))) == [True] * 3
    assert [(await service.ended(task)).status for task in tasks] == [Status.SUCCESS] * 3
    assert peak == 1


async def test_small_pictures_go_side_by_side_as_far_as_there_are_places(make: Callable[..., Service]) -> None:
    service = make(max_megapixels=2, in_flight=3)
    together = asyncio.Barrier(3)  # that nobody passes alone
    service.at["detect"] = together.wait
    tasks = [await service.submit() for _ in range(6)]
    calls = [service.pipeline.run_next(f"ticket {number}") for number in range(6)]
    assert await asyncio.wait_for(asyncio.gather(*calls), 20) == [True] * 6
    assert [(await service.ended(task)).status for task in tasks] == [Status.SUCCESS] * 6


async def test_a_task_that_waits_for_memory_keeps_its_lease(make: Callable[..., Service]) -> None:
    service = make(max_megapixels=2, lease_s=0.4, renew_s=0.05)
    tasks = [await service.submit(LARGE) for _ in range(2)]
    service.at["detect"] = partial(asyncio.sleep, 0.8)
    calls = [asyncio.create_task(service.pipeline.run_next(f"ticket {number}")) for number in range(2)]
    while not all(call.done() for call in calls):
        assert await service.store.take_expired(10) == 0
        await asyncio.sleep(0.05)
    assert [(await service.ended(task)).fence for task in tasks] == [1, 1]


async def test_a_drained_pipeline_ends_what_it_can_and_gives_back_the_rest(make: Callable[..., Service]) -> None:
    service = make(in_flight=2, drain_s=0.5)
    forever, both = asyncio.Event(), asyncio.Barrier(3)
    at_work: list[str] = []

    async def work() -> None:
        at_work.append("swap")
        first = len(at_work) == 1
        await both.wait()
        if not first:
            await forever.wait()

    service.at["swap"] = work
    tasks = [await service.submit() for _ in range(4)]
    calls = [asyncio.create_task(service.pipeline.run_next(f"ticket {number}")) for number in range(4)]
    await both.wait()
    assert await asyncio.wait_for(service.pipeline.drain(), 10) == 1
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(map(str, outcomes)) == ["", "False", "False", "True"], "one was cancelled"
    found = [await service.store.get(task.id) for task in tasks]
    assert sorted((task.status, task.attempt, task.lease_until) for task in found if task is not None) == [
        (Status.IN_PROGRESS, 0, None),
        (Status.NOT_START, 0, None),
        (Status.NOT_START, 0, None),
        (Status.SUCCESS, 1, None),
    ]
    assert not await service.pipeline.run_next("another"), "nothing is claimed any more"


async def test_the_last_attempt_is_made_alone_and_counts_when_it_begins(make: Callable[..., Service]) -> None:
    """Beside it nothing is worked on, and nobody's picture is looked at: what dies with it died of it."""
    service = make(in_flight=4, max_attempts=2)
    swaps: list[asyncio.Event] = []

    async def swap() -> None:
        swaps.append(asyncio.Event())
        await swaps[-1].wait()

    async def until(fulfilled: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not fulfilled():
                await asyncio.sleep(0.01)

    async def states() -> list[tuple[Status, int]]:
        return [(task.status, task.attempt) for task in await service.store.get_many(ids)]

    service.at["swap"] = swap
    lost = await service.submit()
    assert await service.store.claim("dead", 30)
    ordinary = await service.submit()
    calls = [asyncio.create_task(service.pipeline.run_next("ordinary"))]
    await until(lambda: len(swaps) == 1)
    await service.store.expire("dead")
    assert await service.store.take_expired(1) == 1
    calls.append(asyncio.create_task(service.pipeline.run_next("last")))
    waiting = service.pipeline._process
    await until(lambda: len(waiting._waiting) == 1)
    ids = [lost.id, ordinary.id, (await service.submit()).id]
    calls.append(asyncio.create_task(service.pipeline.run_next("after it")))
    looks = asyncio.create_task(service.pipeline.detect(HANKS.read_bytes()))
    await until(lambda: len(waiting._waiting) == 3)
    assert await states() == [(Status.SUBMITTED, 1), (Status.IN_PROGRESS, 1), (Status.NOT_START, 0)], (
        "were all to die now, it is no attempt"
    )
    swaps[0].set()
    await until(lambda: len(swaps) == 2)
    assert await states() == [(Status.IN_PROGRESS, 2), (Status.SUCCESS, 1), (Status.NOT_START, 0)]
    assert not looks.done()
    swaps[1].set()
    await until(lambda: len(swaps) == 3)
    swaps[2].set()
    assert await asyncio.wait_for(asyncio.gather(*calls), 10) == [True] * 3
    assert (await looks)["count"] == 1
    assert await states() == [(Status.SUCCESS, 2), (Status.SUCCESS, 1), (Status.SUCCESS, 1)]


async def test_what_is_worked_on_at_a_time_changes_without_a_restart(make: Callable[..., Service]) -> None:
    service = make(in_flight=1)
    await service.pipeline.reconfigure({"pipeline": {"in_flight": 3}, "limits": {"max_faces": 1}})
    together = asyncio.Barrier(3)  # that nobody passes alone
    service.at["detect"] = together.wait
    for _ in range(3):
        await service.submit()
    calls = [service.pipeline.run_next(f"ticket {number}") for number in range(3)]
    assert await asyncio.wait_for(asyncio.gather(*calls), 20) == [True] * 3


async def test_a_change_that_cannot_be_changes_nothing(make: Callable[..., Service], caplog: pytest.LogCaptureFixture) -> None:
    service = make(in_flight=3)
    with caplog.at_level(logging.ERROR):
        logging.getLogger("serve_app").propagate = True
        await service.pipeline.reconfigure({"pipeline": {"in_flight": 5, "threads": 9}})
    assert "user_config of SwapPipeline cannot change pipeline.threads" in caplog.text
    assert service.pipeline._slots._total == 3


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """A server that the test may stop."""
    server = Postgres()
    try:
        server.start()
        monkeypatch.setenv("FACESWAP_DATABASE_URL", server.url())
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("call", ["detect", "swap"])
async def test_a_task_outlives_a_database_that_is_down_for_longer_than_its_lease(
    database: Postgres, make: Callable[..., Service], call: str
) -> None:
    service = make(lease_s=0.4, renew_s=0.1)
    task = await service.submit()

    async def break_down() -> None:
        service.at.clear()
        await asyncio.to_thread(database.stop)

    service.at[call] = break_down
    working = asyncio.create_task(service.pipeline.run_next("ticket"))
    done, _ = await asyncio.wait([working], timeout=2)
    assert not done, "it waits for the database"
    await asyncio.to_thread(database.start)
    assert await asyncio.wait_for(working, 15)
    ended = await service.ended(task)
    assert (ended.status, ended.attempt) == (Status.SUCCESS, 1)
    assert service.files() == [ended.result_name]


@pytest.mark.parametrize("seconds", [-31, 300])
async def test_a_machine_whose_clock_is_wrong_works_as_others_do(
    database: Postgres, make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    service = make()
    task = await service.submit()
    right = time.time_ns
    with monkeypatch.context() as there:
        there.setattr(time, "time_ns", lambda: right() + seconds * 10**9)
        assert await service.pipeline.run_next("ticket")
    ended = await service.ended(task)
    assert (ended.status, ended.fence) == (Status.SUCCESS, 1)
    assert ended.finish_time is not None
    assert 0 <= ended.finish_time - ended.submit_time < 20_000


async def test_a_task_outlives_a_store_of_pictures_that_takes_none(service: Service) -> None:
    task = await service.submit()
    in_the_way = service.folder / "results"

    async def block() -> None:
        in_the_way.touch()  # a file, where a folder should be

    service.at["info"] = block
    working = asyncio.create_task(service.pipeline.run_next("ticket"))
    done, _ = await asyncio.wait([working], timeout=1)
    assert not done, "it waits"
    in_the_way.unlink()
    assert await asyncio.wait_for(working, 10)
    ended = await service.ended(task)
    assert (ended.status, ended.attempt) == (Status.SUCCESS, 1)
    assert service.files() == [ended.result_name]


async def test_a_task_that_is_cancelled_while_its_picture_cannot_be_stored_leaves_none(service: Service) -> None:
    task = await service.submit()
    in_the_way = service.folder / "results"

    async def block() -> None:
        in_the_way.touch()

    service.at["info"] = block
    working = asyncio.create_task(service.pipeline.run_next("ticket"))
    await asyncio.wait([working], timeout=0.5)
    assert await service.store.cancel(task.id)
    assert await asyncio.wait_for(working, 10)
    in_the_way.unlink()
    assert service.files() == []


async def test_a_database_that_stays_away_past_the_deadline_frees_the_pipeline_and_keeps_the_picture(
    database: Postgres, make: Callable[..., Service]
) -> None:
    """Whether the last commit was made nobody knows, so nothing is deleted: that is for those who ask the database later."""
    service = make(deadline_s=2.0)
    task = await service.submit()
    service.at["swap"] = partial(asyncio.to_thread, database.stop)
    assert await asyncio.wait_for(service.pipeline.run_next("ticket"), 20)
    assert len(service.files()) == 3
    await asyncio.to_thread(database.start)
    assert await service.store.fail_overdue(10) == [task.id]
