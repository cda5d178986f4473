"""SwapPipeline: claims a waiting task, makes its picture, commits the result."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
from ray.serve.handle import DeploymentHandle

from serve_app import tracing
from serve_app.about import about
from serve_app.deployments import live, logs
from serve_app.deployments.admission import Budget, Crew, pixels
from serve_app.deployments.leases import Lease, Leases, TaskLost
from serve_app.deployments.recorder import recorder
from serve_app.deployments.remote import ModelsUnavailable, RemoteModels
from serve_app.deployments.retry import UNAVAILABLE, Patient, to_its_end
from serve_app.metrics import STAGE_SECONDS, Recorder
from serve_app.options import Options
from serve_app.secrets import Secrets, blobs_of, database_of
from serve_app.settings import Settings
from serve_app.swap import FaceLimits, Sources, Stages, SwapError, find_faces, swap_faces
from serve_app.tasks.blobs import BlobMissing, BlobStore
from serve_app.tasks.clock import clock_of
from serve_app.tasks.database import open_database
from serve_app.tasks.reasons import Cause, overdue
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task, new_result_name
from serve_app.vision.formats import sniff
from serve_app.vision.framing import framing

logger = logging.getLogger(__name__)

INTERNAL = "系统异常 (internal error; the operator finds it in the log under the task's id)"
INPUT_GONE = "图片已不存在 (the task's pictures are no longer stored; submit them again)"


@dataclass(frozen=True, slots=True)
class Made:
    """A picture that is stored under `key`, and what the task's row is to say of it."""

    key: str
    name: str
    properties: dict[str, object]


class WatchedStages(Stages):
    """Stages that log lines name and traces show."""

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        with about(stage=name), tracing.span(name), Stages.measure(self, name):
            yield

    def record(self, record: Recorder) -> None:
        for name, ms in self.ms.items():
            record(STAGE_SECONDS, ms / 1000, stage=name)


class SwapPipeline:
    """One replica works on `pipeline.in_flight` tasks at a time, fewer where their pictures are large (`pipeline.max_megapixels`).

    Calls above that wait here, before their claim. A task that has been claimed waits for the database, the store of the pictures and
    the models as long as they are down, until its deadline: then it fails here, or by an Ingress where the database is down still.

    The last attempt at a task that was lost before is made alone: nothing else is worked on in this process meanwhile. So a picture that
    kills the process takes no other task to its end, whoever sends it.
    """

    def __init__(self, settings: Settings, detector: DeploymentHandle[Any], swapper: DeploymentHandle[Any]) -> None:
        logs.to_serve()
        cv2.setNumThreads(1)  # threads are ours: one picture, one core
        self._given, secrets = settings, Secrets()
        self._draining = False
        self._family = settings.family
        self._framing = framing(settings.family, settings.detector.sizes, settings.swapper.max_side)
        self._blobs = BlobStore(blobs_of(settings, secrets), make=False)
        database = open_database(database_of(settings, secrets))
        self._clock, self._record = clock_of(database), recorder()
        self._store = TaskStore(database, self._blobs, clock=self._clock, max_attempts=settings.pipeline.max_attempts, record=self._record)
        self._models = RemoteModels(detector, swapper)
        self._leases = Leases(self._store, lease_s=settings.pipeline.lease_s, renew_s=settings.pipeline.renew_s)
        self._database, self._pictures = Patient("the database"), Patient("the store of the pictures")
        self._slots, self._memory = Budget(settings.in_flight), Budget(_megapixels(settings))
        self._process = Budget(sys.maxsize)  # whoever works has a part of it, or all
        most_bytes = settings.pipeline.remember_mb * 1_000_000
        self._sources = Sources(seconds=settings.pipeline.remember_s, most_bytes=most_bytes, record=self._record)
        self._threads = ThreadPoolExecutor(settings.pipeline.threads, thread_name_prefix="picture")
        self._set(settings)

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Ray Serve calls this with the deployment's `user_config`, at the start and when it changes."""
        self._set(live.changed("SwapPipeline", self._given, user_config))

    def _set(self, settings: Settings) -> None:
        """What is under way goes on as it began."""
        self._settings = settings.pipeline
        self._slots.resize(settings.in_flight)
        self._memory.resize(_megapixels(settings))
        room = min(settings.swapper.max_queued, settings.detector.max_queued // 2)  # a call that asks for more is refused for ever
        self._limits = FaceLimits(settings.limits.max_faces, settings.pipeline.min_face, at_once=min(16, room))

    async def run_next(self, ticket: str) -> bool:
        """Work on the best waiting task; false when there is none. Which one is decided at the last moment, in the claim.

        ticket: the caller's name for this call; the task's lease is held under it. Raises DatabaseUnavailable where the claim does.
        """
        async with self._slots.lend(1):
            async with self._process.lend(1):
                task = None if self._draining else await self._claim(ticket)
                if task is None:
                    return False
                if not self._is_last(task):
                    await self._run(task, ticket, contextlib.nullcontext())
                    return True
            await self._run(task, ticket, self._process.lend(sys.maxsize))
            return True

    async def drain(self) -> int:
        """Claim nothing more. What is worked on has `pipeline.drain_s` to end; the rest is given back uncounted. How many those were."""
        self._draining = True
        try:
            async with asyncio.timeout(self._settings.drain_s), self._slots.lend(sys.maxsize):  # all of them
                return 0
        except TimeoutError:
            return await self._leases.give_back()

    async def detect(self, data: bytes) -> dict[str, object]:
        """The faces of a picture file; `error` alone where it cannot be looked at. Tasks and such pictures share the memory."""
        async with self._process.lend(1), contextlib.AsyncExitStack() as memory:
            amount = await asyncio.get_running_loop().run_in_executor(self._threads, pixels, data)
            await memory.enter_async_context(self._memory.lend(amount))
            crew = await memory.enter_async_context(Crew(self._threads))
            try:
                return await find_faces(data, self._models.attempt(), self._framing, limits=self._limits, in_thread=crew)
            except SwapError as error:
                return {"error": str(error)}

    async def _run(self, task: Task, ticket: str, company: AbstractAsyncContextManager[None]) -> None:
        """company: entered once the lease is kept; what else this process may do meanwhile."""
        number = task.losses + 1
        with about(task=task.id, key=task.owner), tracing.resumed("swap", task.traceparent, task=task.id, attempt=number):
            logger.info("task %s claimed, attempt %d", task.id, number)
            await self._attempt(task, ticket, company)

    async def _attempt(self, task: Task, ticket: str, company: AbstractAsyncContextManager[None]) -> None:
        try:
            async with self._leases.kept(task) as lease, company:
                await self._work(lease)
        except TaskLost:
            logger.info("task %s was lost: cancelled, failed, or taken up by another", task.id)
        except ModelsUnavailable as error:
            # Tried again soon, as often as attempts allow: a picture that kills models must not be tried for ever.
            logger.warning("task %s has to wait: %s", task.id, error)
            with contextlib.suppress(*UNAVAILABLE):  # then the lease runs out by itself
                await self._database(partial(self._store.expire, ticket), until=self._deadline(task))

    async def _claim(self, ticket: str) -> Task | None:
        claim = asyncio.ensure_future(self._store.claim(ticket, self._settings.lease_s))
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:  # the commit may have happened all the same
            with contextlib.suppress(*UNAVAILABLE):
                if task := await claim:
                    await self._store.release(task)
            raise

    async def _work(self, lease: Lease) -> None:
        """The task to its end, whichever that is. Raises ModelsUnavailable and TaskLost."""
        task, began = lease.task, time.perf_counter()
        stages = WatchedStages({"queue": float((task.start_time or task.submit_time) - task.submit_time)})
        end: Callable[[], Awaitable[bool]]
        cause: Cause | None
        try:
            async with asyncio.timeout_at(self._deadline(task)) as limit:
                await self._begin(task)
                made = await self._make(task, stages)
        except (ModelsUnavailable, TaskLost):
            raise
        except SwapError as error:
            cause, end = Cause.PICTURE, partial(self._fail, task, str(error), stages, Cause.PICTURE)
        except BlobMissing:
            cause, end = Cause.INPUTS_GONE, partial(self._fail, task, INPUT_GONE, stages, Cause.INPUTS_GONE)
        except Exception:
            cause, reason = Cause.INTERNAL, INTERNAL
            if limit.expired():
                cause, reason = Cause.OVERDUE, overdue((task.deadline - task.submit_time) / 1000)
            else:
                logger.exception("task %s failed", task.id)
            end = partial(self._fail, task, reason, stages, cause)
        else:
            cause, end = None, partial(self._succeed, task, made)
        lease.settling = True
        if await to_its_end(self._end(task, end)):
            stages.record(self._record)
            logger.info("task %s ended: %s after %.0f ms of work", task.id, cause or "made", 1e3 * (time.perf_counter() - began))

    async def _end(self, task: Task, end: Callable[[], Awaitable[bool]]) -> bool:
        """False where the task was somebody else's by then, or nobody knows."""
        try:
            ended = await end()
        except UNAVAILABLE as error:  # nothing is deleted: its end may have been written
            logger.warning("task %s: its end could not be written in time (%s)", task.id, error)
            return False
        if ended:  # otherwise somebody else has the task and needs its pictures
            await self._delete(task, self._blobs.delete_inputs(task.id))
        return ended

    async def _make(self, task: Task, stages: Stages) -> Made:
        """The picture, stored. Cancelled, it leaves nothing behind."""
        options = Options.of(task.options)
        with stages.measure("read"):
            source, target = await self._pictures(partial(self._blobs.get_inputs, task.id))
            more = await self._pictures(partial(self._blobs.get_more, task.id)) if options.pictures else []
            amount = await asyncio.get_running_loop().run_in_executor(self._threads, _most_pixels, source, target, more, options)
        attempt = self._models.attempt()
        models = await self._models.description(self._family, attempt)
        async with contextlib.AsyncExitStack() as memory:
            with stages.measure("admission"):
                await memory.enter_async_context(self._memory.lend(amount))
            swapped = await swap_faces(
                source,
                target,
                attempt,
                self._framing,
                options=options,
                more=more,
                limits=self._limits,
                quality=self._settings.quality,
                memory=self._sources.of(task.owner, repr(models)),
                found=partial(self._found, task),
                in_thread=await memory.enter_async_context(Crew(self._threads)),
                stages=stages,
            )
        del source, target, more
        name = new_result_name(task.id, swapped.format.lower())
        key = f"results/{name}"
        try:
            with stages.measure("write"):
                await self._pictures(lambda: to_its_end(self._blobs.put(key, swapped.data)))
        except BaseException:  # cancelled: no commit was tried, so no task has it
            await self._delete(task, self._blobs.delete(key))
            raise
        properties: dict[str, object] = {"faces": swapped.faces, "stages": stages.ms, "models": models}
        if swapped.notes:
            properties["notes"] = list(swapped.notes)
        if swapped.output:
            properties["output"] = swapped.output
        return Made(key, name, properties)

    def _is_last(self, task: Task) -> bool:
        """A further loss would be its end. A first attempt is none: where `max_attempts` is 1, all would be."""
        return bool(task.losses) and task.losses + 1 >= self._settings.max_attempts

    async def _begin(self, task: Task) -> None:
        if task.fence > 1 and not await self._database(partial(self._store.begin, task)):
            raise TaskLost

    async def _found(self, task: Task) -> None:
        if not await self._database(partial(self._store.advance, task, 50)):
            raise TaskLost

    async def _succeed(self, task: Task, made: Made) -> bool:
        """False when the task was lost to somebody else. Raises DatabaseUnavailable at the deadline; then nobody knows."""
        write = partial(self._store.succeed, task, made.key, made.name, made.properties)
        if await self._database(write, until=self._deadline(task)):
            return True
        logger.warning("task %s: its result was refused, for it is not ours any more; deleting it", task.id)
        await self._delete(task, self._blobs.delete(made.key))
        return False

    async def _fail(self, task: Task, reason: str, stages: Stages, cause: Cause) -> bool:
        """As `_succeed`."""
        return await self._database(partial(self._store.fail, task, reason, {"stages": stages.ms}, cause), until=self._deadline(task))

    async def _delete(self, task: Task, delete: Coroutine[Any, Any, None]) -> None:
        try:
            await to_its_end(delete)
        except Exception as error:
            logger.warning("task %s: pictures are left to the sweep: %s", task.id, error or type(error).__name__)

    def _deadline(self, task: Task) -> float:
        """By the clock of the running loop."""
        return asyncio.get_running_loop().time() + (task.deadline - self._clock()) / 1000


def _megapixels(settings: Settings) -> int:
    return int(settings.pipeline.max_megapixels * 1e6)


def _most_pixels(source: bytes, target: bytes, more: Sequence[bytes], options: Options) -> int:
    """That are decoded at a time: the target's and one other picture's. AVIF's encoder takes as much as three more of the target."""
    wished = options.output and options.output.format
    avif = wished == "avif" or (wished is None and sniff(target) == "AVIF")
    return pixels(target) * (4 if avif else 1) + max(map(pixels, (source, *more)))
