"""The slot-first batcher: order, fairness, one bad item, bounds, cancelled calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from serve_app.deployments import batcher as batchers
from serve_app.deployments.batcher import Batcher, BatchQueueFull, EngineBroke, EngineOut
from serve_app.vision.face import FaceError
from tests.recorded import Recorded


class Gate:
    """An engine whose runs wait until the test lets them go; item n gives n * 10, "bad" items raise."""

    def __init__(self, buckets: tuple[int, ...] = (4,), slots: int = 1, provider: str = "") -> None:
        self.buckets, self.slots, self.provider = buckets, slots, provider
        self.batches: list[list[object]] = []
        self.started = threading.Semaphore(0)
        self.open = threading.Event()
        self.broken = False

    def warm_up(self) -> None:
        if self.broken:
            raise RuntimeError("no device")

    def info(self) -> dict[str, str]:
        return {"provider": self.provider}

    def pre(self, item: object) -> object:
        if item == "refused":
            raise FaceError("turned away")
        return item

    def run(self, batch: Sequence[object]) -> list[object]:
        self.batches.append(list(batch))
        self.started.release()
        assert self.open.wait(10)
        if "poison" in batch:
            raise ValueError("poison")
        if "breaks" in batch:
            self.broken = True
        if self.broken:
            raise MemoryError("no device")
        return list(batch)

    def post(self, item: object, raw: object) -> object:
        assert isinstance(raw, int)
        return raw * 10

    async def running(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, timeout=10)


def batcher(engine: Gate, max_queued: int = 100) -> Batcher[object, object]:
    return Batcher(engine, max_queued=max_queued)


async def calls(batch: Batcher[object, object], *items: Sequence[object]) -> list[asyncio.Task[list[object]]]:
    """One task a call, queued in this order (each is let run until its items wait)."""
    tasks = []
    for number, call in enumerate(items):
        tasks.append(asyncio.create_task(batch(call)))
        while len(batch._calls) <= number:
            await asyncio.sleep(0)
    return tasks


async def test_results_come_back_in_the_order_of_the_items() -> None:
    engine = Gate()
    engine.open.set()
    assert await batcher(engine)([3, 1, 2]) == [30, 10, 20]
    assert await batcher(engine)([]) == []


async def test_an_idle_engine_starts_at_once_and_a_busy_one_takes_all_that_came_since() -> None:
    engine = Gate()
    batch = batcher(engine)
    first = asyncio.create_task(batch([1]))
    await engine.running()
    rest = await calls(batch, [2], [3], [4], [5], [6])
    engine.open.set()
    await asyncio.gather(first, *rest)
    assert engine.batches == [[1], [2, 3, 4, 5], [6]]


async def test_calls_take_turns_so_a_large_one_does_not_hold_back_a_small_one() -> None:
    engine = Gate(buckets=(2,))
    batch = batcher(engine)
    first = asyncio.create_task(batch([0]))
    await engine.running()
    large, small = await calls(batch, [1, 2, 3, 4], [5])
    engine.open.set()
    await asyncio.gather(first, large, small)
    assert engine.batches[1] == [1, 5]


async def test_batches_are_as_large_as_was_said_last_and_never_larger_than_the_engine_takes() -> None:
    engine = Gate(buckets=(1, 2, 4))
    engine.open.set()
    batch = batcher(engine)
    for sizes, largest in (((1, 2), 2), ((1,), 1), ((1, 2, 4, 8), 4), ((1, 3), 2)):
        batch.use_buckets(sizes)
        engine.batches.clear()
        await batch(list(range(5)))
        assert max(map(len, engine.batches)) == largest


async def test_one_poisoned_item_fails_its_own_call_only() -> None:
    engine = Gate()
    batch = batcher(engine)
    first = asyncio.create_task(batch([0]))
    await engine.running()
    tasks = await calls(batch, [1], ["poison"], [3], [4])
    engine.open.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [results[i] for i in (0, 1, 3, 4)] == [[0], [10], [30], [40]]
    assert isinstance(results[2], ValueError)


async def test_a_refused_item_is_answered_with_its_reason_and_its_neighbours_with_results() -> None:
    engine = Gate()
    engine.open.set()
    one, refused, three = await batcher(engine)([1, "refused", 3])
    assert (one, three) == (10, 30)
    assert isinstance(refused, FaceError)
    assert engine.batches == [[1, 3]]


async def test_more_than_the_bound_is_refused_and_room_comes_back() -> None:
    engine = Gate()
    batch = batcher(engine, max_queued=2)
    held = asyncio.create_task(batch([1, 2]))
    await engine.running()
    with pytest.raises(BatchQueueFull, match="limit of 2"):
        await batch([3])
    engine.open.set()
    await held
    assert await batch([3]) == [30]


async def test_a_cancelled_calls_items_never_reach_the_engine() -> None:
    engine = Gate()
    batch = batcher(engine)
    first = asyncio.create_task(batch([1]))
    await engine.running()
    gone, stays = await calls(batch, [2, 3], [4])
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    engine.open.set()
    await asyncio.gather(first, stays)
    assert engine.batches == [[1], [4]]


async def test_slots_run_side_by_side() -> None:
    engine = Gate(buckets=(1,), slots=2)
    batch = batcher(engine)
    both = [asyncio.create_task(batch([n])) for n in (1, 2)]
    await engine.running()
    await engine.running()
    engine.open.set()
    assert await asyncio.gather(*both) == [[10], [20]]


@pytest.mark.parametrize(("provider", "batches"), [("CPU", [[1], [2]]), ("CUDAExecutionProvider", [[1, 2]])])
async def test_on_a_processor_two_free_cores_take_one_item_each(provider: str, batches: list[list[int]]) -> None:
    engine = Gate(slots=2, buckets=(1, 2), provider=provider)
    engine.open.set()
    await batcher(engine)([1, 2])
    assert sorted(engine.batches, key=str) == batches


async def test_an_engine_that_loses_a_result_is_an_error_not_a_hang() -> None:
    engine = Gate()
    engine.open.set()
    engine.run = lambda batch: []  # type: ignore[method-assign]  # a broken engine
    with pytest.raises(RuntimeError, match="0 results for 1 items"):
        await batcher(engine)([1])


async def test_an_item_that_fails_once_has_another_run() -> None:
    engine = Gate()
    engine.open.set()
    run, errors = engine.run, [MemoryError("for a moment")]

    def fails_once(batch: Sequence[object]) -> list[object]:
        if errors:
            raise errors.pop()
        return run(batch)

    engine.run = fails_once  # type: ignore[method-assign]
    assert await batcher(engine)([1]) == [10]


async def test_an_engine_that_broke_is_told_from_its_items_until_it_can_be_warmed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who shared the batch hears that it broke under them; who waited, or came later, that nobody took the call."""
    monkeypatch.setattr(batchers, "REFUSAL_S", 0.01)
    engine = Gate(buckets=(2,))
    batch = batcher(engine)
    await batch.check_health()
    first = asyncio.create_task(batch([0]))
    await engine.running()
    rest = await calls(batch, [1], ["breaks"], [3])
    engine.open.set()
    assert await first == [0]
    outcomes = await asyncio.gather(*rest, batch([4]), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [EngineBroke, EngineBroke, EngineOut, EngineOut]
    assert engine.batches == [[0], [1, "breaks"], [1]], "no more than that is tried"
    with pytest.raises(EngineOut, match="RuntimeError: no device"):
        await batch.check_health()
    engine.broken = False  # whoever had its memory left
    await batch.check_health()
    assert await batch([5]) == [50]


async def test_it_says_how_many_items_it_was_given_and_in_how_large_batches() -> None:
    engine = Gate()
    batch = batcher(engine)
    first = asyncio.create_task(batch([1]))
    await engine.running()
    rest = await calls(batch, [2, 3, 4])
    engine.open.set()
    await asyncio.gather(first, *rest)
    assert (batch.info()["items"], batch.info()["mean batch"]) == ("4", "2.00")


async def test_runs_are_counted_with_the_room_that_they_had() -> None:
    engine, recorded = Gate(), Recorded()
    batch: Batcher[object, object] = Batcher(engine, max_queued=100, model="swap", family="fake", record=recorded)
    first = asyncio.create_task(batch([1]))
    await engine.running()
    rest = await calls(batch, [2], ["poison"], [4, 5])
    engine.open.set()
    await asyncio.gather(first, *rest, return_exceptions=True)
    assert recorded.counted == {
        ("batch_items", "swap"): 4,  # 1, 2, and 4 and 5; "poison" was never answered
        ("batch_places", "swap"): 12,
        ("batches_failed", "swap"): 4,  # all four, two of them, and "poison" alone, twice
    }
    assert recorded.every["batch_size", "swap"] == [1, 1, 2]
    assert len(recorded.every["batch_seconds", "swap"]) == 3
    assert recorded.last == {("engine_info", "swap", "fake", "", ""): 1}
