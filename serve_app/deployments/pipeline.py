"""SwapPipeline: claims a waiting task, makes its picture, commits the result."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import cv2
from ray.serve.handle import DeploymentHandle

from serve_app.deployments import logs
from serve_app.deployments.remote import ModelsUnavailable, RemoteModels
from serve_app.families import framing
from serve_app.settings import Secrets, Settings, blobs_of, database_of
from serve_app.swap import Stages, SwapError, Swapped, swap_faces
from serve_app.tasks.blobs import BlobMissing, BlobStore
from serve_app.tasks.database import open_database
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task, new_result_name

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

INTERNAL = "系统异常 (internal error; the operator finds it in the log under the task's id)"
INPUT_GONE = "图片已不存在 (the task's pictures are no longer stored; submit them again)"


class TaskLost(Exception):
    """The task was cancelled or deleted, or is somebody else's now: nothing more is done for it here."""


class SwapPipeline:
    """One replica works on `pipeline.in_flight` tasks at a time; calls above that wait here, before their claim."""

    def __init__(self, settings: Settings, detector: DeploymentHandle[Any], swapper: DeploymentHandle[Any]) -> None:
        logs.to_serve()
        cv2.setNumThreads(1)  # threads are ours: one picture, one core
        self._settings, secrets = settings.pipeline, Secrets()
        self._family = settings.family
        self._framing = framing(settings)
        self._blobs = BlobStore(blobs_of(settings, secrets))
        self._store = TaskStore(open_database(database_of(settings, secrets)), self._blobs, max_attempts=settings.pipeline.max_attempts)
        self._models = RemoteModels(detector, swapper)
        self._admission = asyncio.Semaphore(settings.pipeline.in_flight)
        self._threads = ThreadPoolExecutor(settings.pipeline.threads, thread_name_prefix="picture")

    async def run_next(self, ticket: str) -> bool:
        """Work on the best waiting task; false when there is none. Which one is decided at the last moment, in the claim.

        ticket: the caller's name for this call; the task's lease is held under it.
        """
        async with self._admission:
            task = await self._claim(ticket)
            if task is None:
                return False
            await self._work(task, ticket)
            return True

    async def _claim(self, ticket: str) -> Task | None:
        claim = asyncio.ensure_future(self._store.claim(ticket, self._settings.lease_s))
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:  # the commit may have happened all the same
            if task := await claim:
                await self._store.release(task)
            raise

    async def _work(self, task: Task, ticket: str) -> None:
        stages = Stages({"queue": float((task.start_time or task.submit_time) - task.submit_time)})
        try:
            async with self._lease(task):
                ended = await self._make(task, stages)
        except TaskLost:
            logger.info("task %s was lost: cancelled, or taken up by another", task.id)
            return
        except ModelsUnavailable as error:
            # Tried again at once, as often as attempts allow: a picture that kills models must not be tried for ever.
            logger.warning("task %s has to wait: %s", task.id, error)
            await self._store.expire(ticket)
            return
        except SwapError as error:
            ended = await self._store.fail(task, str(error), {"stages": stages.ms})
        except BlobMissing:
            ended = await self._store.fail(task, INPUT_GONE, {"stages": stages.ms})
        except Exception:
            logger.exception("task %s failed", task.id)
            ended = await self._store.fail(task, INTERNAL, {"stages": stages.ms})
        if ended:  # otherwise somebody else has the task and needs its pictures
            await self._blobs.delete_inputs(task.id)

    async def _make(self, task: Task, stages: Stages) -> bool:
        """True when the result was committed, false when the task was lost to somebody else."""
        with stages.measure("read"):
            source, target = await self._blobs.get_inputs(task.id)

        async def found() -> None:
            if not await self._store.advance(task, 50):
                raise TaskLost

        swapped = await swap_faces(
            source,
            target,
            self._models,
            self._framing,
            quality=self._settings.quality,
            found=found,
            in_thread=self._in_thread,
            stages=stages,
        )
        commit = asyncio.ensure_future(self._commit(task, swapped, stages))
        try:
            return await asyncio.shield(commit)
        except asyncio.CancelledError:  # half a commit would leave a picture that no task has
            await commit
            raise

    async def _commit(self, task: Task, swapped: Swapped, stages: Stages) -> bool:
        name = new_result_name(task.id, swapped.format.lower())
        key = f"results/{name}"
        with stages.measure("write"):
            await self._blobs.put(key, swapped.data)
        properties = {"faces": swapped.faces, "stages": stages.ms, "models": await self._models.description(self._family)}
        committed = await self._store.succeed(task, key, name, properties)
        if not committed:
            await self._blobs.delete(key)  # a late result is nobody's
        return committed

    @contextlib.asynccontextmanager
    async def _lease(self, task: Task) -> AsyncIterator[None]:
        """Keeps the claim while the body runs; stops the body and raises TaskLost when the claim was lost."""
        body = asyncio.current_task()
        assert body is not None
        lost = False

        async def renew() -> None:
            nonlocal lost
            while True:
                await asyncio.sleep(self._settings.renew_s)
                try:
                    kept = await self._store.renew(task, self._settings.lease_s)
                except Exception as error:  # the database may be back before the lease runs out
                    logger.warning("task %s: the lease could not be renewed (%s); trying again", task.id, type(error).__name__)
                    continue
                if not kept:
                    lost = True
                    body.cancel()
                    return

        renewal = asyncio.create_task(renew())
        try:
            yield
        except asyncio.CancelledError:
            if lost and not body.uncancel():  # otherwise somebody cancels this call as well
                raise TaskLost from None
            # A drained replica, or an Ingress that died: give the task back at once instead of letting the lease run out.
            await asyncio.shield(self._store.release(task))
            raise
        finally:
            renewal.cancel()

    def _in_thread(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
