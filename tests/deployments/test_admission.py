"""What is worked on at a time is bounded by decoded pixels, in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from serve_app.deployments.admission import Budget, Crew, pixels
from tests.pictures import ASTRONAUT, HANKS


class Work:
    """Somebody who wants `amount`, and has it until `end` is set."""

    def __init__(self, budget: Budget, amount: int) -> None:
        self.has, self.end = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._run(budget, amount))

    async def _run(self, budget: Budget, amount: int) -> None:
        async with budget.lend(amount):
            self.has.set()
            await self.end.wait()

    async def finish(self) -> None:
        self.end.set()
        await self.task


async def begun(budget: Budget, *amounts: int) -> list[Work]:
    works = [Work(budget, amount) for amount in amounts]
    await settled()
    return works


async def settled() -> None:
    """Everything that can go on has."""
    for _ in range(10):
        await asyncio.sleep(0)


def having(works: list[Work]) -> list[bool]:
    return [work.has.is_set() for work in works]


async def test_who_asks_first_goes_first_and_a_small_one_does_not_overtake() -> None:
    works = await begun(Budget(100), 60, 60, 10)
    assert having(works) == [True, False, False]
    await works[0].finish()
    await settled()
    assert having(works) == [True, True, True]
    for work in works[1:]:
        await work.finish()


async def test_what_is_larger_than_the_whole_budget_goes_alone() -> None:
    works = await begun(Budget(100), 1, 250, 1)
    assert having(works) == [True, False, False]
    await works[0].finish()
    await settled()
    assert having(works) == [True, True, False]
    await works[1].finish()
    await settled()
    assert having(works) == [True, True, True]
    await works[2].finish()


async def test_who_is_cancelled_while_waiting_makes_room_for_the_next() -> None:
    works = await begun(Budget(100), 90, 50, 10)
    works[1].task.cancel()
    await settled()
    assert having(works) == [True, False, True]
    for work in (works[0], works[2]):
        await work.finish()


@pytest.mark.parametrize("first", ["cancel", "finish"])
async def test_nothing_is_lost_when_a_turn_comes_and_is_cancelled_at_once(first: str) -> None:
    budget = Budget(100)
    works = await begun(budget, 100, 100)
    acts: list[Callable[[], object]] = [works[1].task.cancel, works[0].end.set]
    for act in acts if first == "cancel" else acts[::-1]:
        act()
    if first == "finish":  # up to the moment when the turn has come, and nobody has heard of it
        while works[0].task not in (await asyncio.wait([works[0].task], timeout=0))[0]:
            await asyncio.sleep(0)
    await asyncio.gather(*(work.task for work in works), return_exceptions=True)
    (again,) = await begun(budget, 100)
    assert again.has.is_set()
    await again.finish()


async def test_a_crew_ends_only_when_no_thread_works_for_it() -> None:
    began, go_on, seen = threading.Event(), threading.Event(), []

    def work(number: int) -> None:
        began.set()
        assert go_on.wait(10)
        seen.append(number)

    async def body() -> None:
        async with Crew(pool) as crew:
            await asyncio.gather(crew(work, 1), crew(work, 2))

    with ThreadPoolExecutor(1) as pool:
        task = asyncio.create_task(body())
        assert await asyncio.to_thread(began.wait, 10)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=0.1)
        assert not done, "a thread still has the pixels"
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert seen == [1], "what had not begun never does"


def test_pixels_are_counted_from_headers() -> None:
    assert pixels(ASTRONAUT.read_bytes(), HANKS.read_bytes(), b"no picture") == 512 * 512 + pixels(HANKS.read_bytes())


async def test_a_budget_that_shrinks_waits_for_what_it_has_lent_and_one_that_grows_lends_at_once() -> None:
    budget = Budget(4)
    works = await begun(budget, 1, 1, 1, 1, 1, 3)
    assert having(works) == [True] * 4 + [False] * 2
    budget.resize(2)
    for work in works[:2]:
        await work.finish()
        await settled()
        assert not works[4].has.is_set(), "there are still as many as there may be"
    await works[2].finish()
    await settled()
    assert having(works[4:]) == [True, False]
    budget.resize(5)
    await settled()
    assert works[5].has.is_set(), "it was asked for three, and three fit"
    for work in works[3:]:
        await work.finish()
    alone = await begun(budget, 5)
    assert having(alone) == [True], "all that was lent came back"
    await alone[0].finish()


async def test_what_does_not_fit_into_a_budget_that_shrinks_goes_alone_too() -> None:
    budget = Budget(9)
    works = await begun(budget, 9, 8)
    budget.resize(4)
    await works[0].finish()
    await settled()
    assert having(works[1:]) == [True]
    await works[1].finish()
