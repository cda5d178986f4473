"""A slot-first batcher: a batch is cut when a slot is free to run it, never before.

Ray's own `@serve.batch` (2.60) cuts batches first and lets them wait for a slot, so that what arrives meanwhile can
never join them; docs/decisions/0001-slot-first-batcher.md has the measurement. Here nothing waits on a timer: an idle
engine takes the first item at once, a busy one finds all that has arrived since.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from serve_app import tracing
from serve_app.engines.protocol import Engine
from serve_app.metrics import BATCH_ITEMS, BATCH_PLACES, BATCH_SECONDS, BATCH_SIZE, BATCHES_FAILED, ENGINE, Recorder, unrecorded
from serve_app.vision.face import FaceError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

# Who refuses at once has the shortest queue, and Serve would send it everything.
REFUSAL_S = 1.0


class BatchQueueFull(RuntimeError):
    """More items are waiting than the replica may hold."""


class EngineBroke(RuntimeError):
    """The engine broke while it ran these items, or others of their batch: it fails at its own test items since."""


class EngineOut(RuntimeError):
    """The engine broke before it was given these items, and says nothing about them."""


@dataclass(slots=True)
class Entry:
    """call: where it came from, for traces."""

    prepared: Any
    raw: asyncio.Future[Any]
    call: tracing.Context


class Batcher(Generic[Item, Result]):
    """Drives one engine. A call brings items and gets their results in order.

    Items are taken in turn from the waiting calls, one each, so that a call with many never holds back a call with
    one. An item that the engine refuses is answered with its FaceError. A batch that fails otherwise is halved and
    tried again until the item at fault stands alone: only its call fails. A cancelled call's waiting items leave, also those
    that wait for such another try.

    Before an item that stands alone fails, the engine is warmed up again. Where it can be, the item has another run, and keeps the error
    of that one. Where it cannot, the engine is at fault (a device that is lost, or whose memory is full): it takes nothing more, and
    check_health raises until a warm-up succeeds.
    """

    def __init__(
        self,
        engine: Engine[Item, Any, Any, Result],
        *,
        max_queued: int,
        threads: int = 2,
        model: str = "",
        family: str = "",
        record: Recorder = unrecorded,
    ) -> None:
        """model, family: what metrics and traces call the engine."""
        self.engine = engine
        self._model, self._record = model, record
        info = engine.info()
        record(ENGINE, model=model, family=family, runtime=info.get("runtime", ""), precision=info.get("precision", ""))
        self.batch_sizes: deque[int] = deque(maxlen=1000)
        self._max_queued = max_queued
        self._held = self._done = 0
        self._broken = ""  # why
        self._free = engine.slots
        self._most = engine.buckets[-1]
        self._on_cores = info.get("provider", "").startswith("CPU")  # ONNX Runtime and OpenVINO name it each its way
        self._calls: deque[deque[Entry]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        # Two pools, so that the CPU work of many items never keeps a free slot from running.
        self._device = ThreadPoolExecutor(engine.slots, thread_name_prefix="run")
        self._cpu = ThreadPoolExecutor(threads, thread_name_prefix="pre-post")

    def info(self) -> dict[str, str]:
        """The engine's, and how many items it was given so far, second tries included, in how large batches lately."""
        mean = sum(self.batch_sizes) / len(self.batch_sizes) if self.batch_sizes else 0.0
        return {**self.engine.info(), "items": str(self._done), "mean batch": f"{mean:.2f}"}

    async def __call__(self, items: Sequence[Item]) -> list[Result | FaceError]:
        """Results of `items`, in order.

        Raises BatchQueueFull, EngineOut, EngineBroke, or the first error of an item that is no FaceError.
        """
        if self._held + len(items) > self._max_queued:
            raise BatchQueueFull(f"{self._held} items are held, {len(items)} more would pass the limit of {self._max_queued}")
        self._held += len(items)
        try:
            if self._broken:
                await asyncio.sleep(REFUSAL_S)
                raise EngineOut(self._broken)
            prepared = await self._on_cpu(self.engine.pre, [(item,) for item in items])
            raws = await self._on_device(prepared)
            outcomes = await self._on_cpu(self.engine.post, list(zip(items, raws, strict=True)))
        finally:
            self._held -= len(items)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, FaceError):
                raise outcome
        return outcomes

    async def check_health(self) -> None:
        """Raises EngineOut where the engine broke and still cannot be warmed up. Costs nothing otherwise, and no run waits for it."""
        if self._broken and not await self._works():
            raise EngineOut(self._broken)

    def use_buckets(self, sizes: Sequence[int]) -> None:
        """From the next batch on, none is larger than the largest of these that the engine was made for; than its smallest, if of none."""
        self._most = max((size for size in self.engine.buckets if size <= max(sizes)), default=self.engine.buckets[0])

    async def _on_cpu(self, step: Callable[..., Any], rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """`step` of each row in a thread; its result or its error. A row that ends in an error keeps it."""
        loop = asyncio.get_running_loop()

        async def one(row: tuple[Any, ...]) -> Any:
            return row[-1] if isinstance(row[-1], BaseException) else await loop.run_in_executor(self._cpu, step, *row)

        return await asyncio.gather(*map(one, rows), return_exceptions=True)

    async def _on_device(self, prepared: Sequence[Any]) -> list[Any]:
        loop, here = asyncio.get_running_loop(), tracing.present()
        entries = [Entry(item, loop.create_future(), here) for item in prepared]
        call: deque[Entry] = deque()
        for entry in entries:
            if isinstance(entry.prepared, BaseException):
                entry.raw.set_exception(entry.prepared)
            else:
                call.append(entry)
        if call:
            self._calls.append(call)
            self._fill_slots()
        return await asyncio.gather(*(entry.raw for entry in entries), return_exceptions=True)  # cancelled, it cancels them all

    def _fill_slots(self) -> None:
        while self._free and (batch := self._take(self._next_size())):
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._occupy_slot(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _next_size(self) -> int:
        """The most that the next batch may have. On a processor slots are cores: what waits goes to all that are free first."""
        if not self._on_cores:
            return self._most
        waiting = sum(not entry.raw.done() for call in self._calls for entry in call)
        return min(self._most, max(1, math.ceil(waiting / self._free)))

    def _take(self, limit: int) -> list[Entry]:
        batch: list[Entry] = []
        while self._calls and len(batch) < limit:
            call = self._calls.popleft()
            entry = call.popleft()
            if not entry.raw.done():
                batch.append(entry)
            if call:
                self._calls.append(call)
        return batch

    async def _occupy_slot(self, batch: list[Entry]) -> None:
        try:
            if self._broken:
                _fail(batch, EngineOut(self._broken))
            else:
                await self._run(batch)
        finally:
            self._free += 1
            self._fill_slots()

    async def _run(self, batch: list[Entry], error: Exception | None = None) -> None:
        """error: what this item, alone, ended in the first time."""
        batch = [entry for entry in batch if not entry.raw.done()]
        if not batch:
            return
        if self._broken:  # under the other half
            return _fail(batch, EngineBroke(self._broken))
        self.batch_sizes.append(len(batch))
        self._done += len(batch)
        began = time.time_ns()
        try:
            raws = await asyncio.get_running_loop().run_in_executor(self._device, self.engine.run, [entry.prepared for entry in batch])
            if len(raws) != len(batch):
                raise RuntimeError(f"the engine answered {len(raws)} results for {len(batch)} items")
        except Exception as raised:
            self._record(BATCHES_FAILED, model=self._model)
            return await self._after(batch, raised, again=error is not None)
        self._note(batch, began, time.time_ns())
        for entry, raw in zip(batch, raws, strict=True):
            if not entry.raw.done():
                entry.raw.set_result(raw)

    async def _after(self, batch: list[Entry], error: Exception, *, again: bool) -> None:
        """What becomes of a batch that failed. again: it is one item, which did so before."""
        if len(batch) > 1:
            logger.warning("a batch of %d failed (%s: %s), trying its halves", len(batch), type(error).__name__, error)
            middle = len(batch) // 2
            await self._run(batch[:middle])
            await self._run(batch[middle:])
        elif again:
            _fail(batch, error)
        elif await self._works():
            await self._run(batch, error)
        else:
            _fail(batch, EngineBroke(self._broken))

    async def _works(self) -> bool:
        """Whether it can be warmed up, in a place on the device."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._device, self.engine.warm_up)
        except Exception as error:
            self._broken = f"{type(error).__name__}: {error}"
            logger.error("engine %s is broken: it cannot be warmed up again (%s)", self._model, self._broken)
            return False
        if self._broken:
            logger.warning("engine %s works again", self._model)
        self._broken = ""
        return True

    def _note(self, batch: list[Entry], began_ns: int, ended_ns: int) -> None:
        model, record = self._model, self._record
        record(BATCH_SIZE, len(batch), model=model)
        record(BATCH_ITEMS, len(batch), model=model)
        record(BATCH_PLACES, self._most, model=model)
        record(BATCH_SECONDS, (ended_ns - began_ns) / 1e9, model=model)
        calls = {id(entry.call): entry.call for entry in batch}.values()
        tracing.add(f"batch {model}", calls, began_ns, ended_ns, size=len(batch), calls=len(calls))


def _fail(batch: Sequence[Entry], error: Exception) -> None:
    for entry in batch:
        if not entry.raw.done():  # its call may have been cancelled meanwhile
            entry.raw.set_exception(error)
