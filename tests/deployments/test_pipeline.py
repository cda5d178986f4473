"""SwapPipeline with the real deployments of family `fake` behind it, in one process: what it does with a task that it lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from serve_app.deployments.detector import FaceDetector
from serve_app.deployments.pipeline import SwapPipeline
from serve_app.deployments.swapper import FaceSwapper
from serve_app.settings import PipelineSettings, Settings
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import open_database
from serve_app.tasks.migrate import migrate
from serve_app.tasks.store import CANCELLED, TaskStore
from serve_app.tasks.task import NewTask, Status, Task
from tests.pictures import ASTRONAUT, HANKS


class Handle:
    """A deployment handle onto an object of this process. `before` is told of each call, and may keep it waiting."""

    def __init__(self, deployment: Any, before: Callable[[str], Awaitable[None]]) -> None:
        self._deployment = deployment
        self._before = before
        self.deployment_name = type(deployment).__name__

    def __getattr__(self, method: str) -> Handle:
        called = Handle(self._deployment, self._before)
        called.remote = partial(self._call, method)
        return called

    remote: Callable[..., Awaitable[Any]]

    async def _call(self, method: str, *arguments: Any) -> Any:
        await self._before(method)
        return await getattr(self._deployment, method)(*arguments)


class Service:
    """A pipeline, and a store as Ingress has one. `at[method]` is awaited before that call of a model."""

    def __init__(self, settings: Settings) -> None:
        migrate(settings.database)
        self.calls: list[str] = []
        self.at: dict[str, Callable[[], Awaitable[object]]] = {}
        detector, swapper = FaceDetector(settings), FaceSwapper(settings)
        self.pipeline = SwapPipeline(settings, cast(Any, Handle(detector, self._before)), cast(Any, Handle(swapper, self._before)))
        self.blobs = BlobStore(settings.blobs)
        self.database = open_database(settings.database)
        self.store = TaskStore(self.database, self.blobs)
        self.folder = settings.blobs

    async def _before(self, method: str) -> None:
        self.calls.append(method)
        if method in self.at:
            await self.at[method]()

    async def submit(self) -> Task:
        write = partial(self.blobs.put_inputs, source=HANKS.read_bytes(), target=ASTRONAUT.read_bytes())
        return await self.store.submit(NewTask(None, None, None, None, "http://b"), write)

    def files(self) -> list[str]:
        return [path.name for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def _our_logging() -> Iterator[None]:
    """As it was: a replica takes the records of all our loggers for Serve's files."""
    ours = logging.getLogger("serve_app")
    handlers, level, propagate = ours.handlers, ours.level, ours.propagate
    yield
    ours.handlers, ours.propagate = handlers, propagate
    ours.setLevel(level)


@pytest.fixture
async def service(tmp_path: Path, _our_logging: None) -> AsyncIterator[Service]:
    pipeline = PipelineSettings(lease_s=0.4, renew_s=0.05)
    service = Service(Settings(family="fake", data_dir=tmp_path, pipeline=pipeline))
    yield service
    await service.database.close()
    await service.pipeline._store._database.close()  # a replica's ends with its process


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
    service.at[call] = lambda: getattr(service.store, how)(task.id)
    assert await service.pipeline.run_next("ticket")
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
    assert service.calls == ["detect"]


async def test_a_model_call_that_lasts_is_left_when_the_task_is_cancelled(service: Service) -> None:
    task = await service.submit()
    left = asyncio.Event()

    async def never() -> None:
        await service.store.cancel(task.id)
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    service.at["swap"] = never
    async with asyncio.timeout(10):
        assert await service.pipeline.run_next("ticket"), "the pipeline is free for the next task"
    assert left.is_set()
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


async def test_a_call_that_is_cancelled_during_its_commit_leaves_no_half_of_it(service: Service) -> None:
    task = await service.submit()
    began, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        began.set()
        await go_on.wait()

    service.at["info"] = wait  # the commit asks for it after the picture was written
    call = asyncio.create_task(service.pipeline.run_next("ticket"))
    await began.wait()
    call.cancel()
    done, _ = await asyncio.wait([call], timeout=0.2)
    assert not done, "the commit comes first"
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    ended = await service.store.get(task.id)
    assert ended is not None
    assert ended.status is Status.SUCCESS
    assert ended.result_name in service.files()
