"""The dispatcher: bounded, made up for what was lost, never stopped by a failing call."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

from serve_app.deployments.dispatcher import Dispatcher


async def forget(ticket: str) -> None: ...


@asynccontextmanager
async def running(
    run_next: Callable[[str], Awaitable[bool]],
    limit: int,
    finished: Callable[[], None] = lambda: None,
    lost: Callable[[str], Awaitable[None]] = forget,
) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(run_next, limit=limit, finished=finished, lost=lost)
    loop = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_calls_in_flight_stay_within_the_limit_and_all_offers_are_made() -> None:
    peak = now = made = 0
    all_made = asyncio.Event()

    async def run_next(ticket: str) -> bool:
        nonlocal peak, now, made
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0)
        now -= 1
        made += 1
        if made == 20:
            all_made.set()
        return True

    async with running(run_next, limit=3) as dispatcher:
        dispatcher.offer(20)
        await asyncio.wait_for(all_made.wait(), 5)
    assert (made, peak) == (20, 3)


async def test_a_failing_call_neither_stops_the_rest_nor_counts_as_finished() -> None:
    outcomes: Iterator[bool | Exception] = iter([RuntimeError("replica died"), False, True])
    finished = asyncio.Event()
    told = 0

    async def run_next(ticket: str) -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def tell() -> None:
        nonlocal told
        told += 1
        finished.set()

    async with running(run_next, limit=1, finished=tell) as dispatcher:
        dispatcher.offer(3)
        await asyncio.wait_for(finished.wait(), 5)
    assert told == 1


async def test_cover_makes_up_for_lost_offers_only() -> None:
    release = asyncio.Event()
    calls = 0

    async def run_next(ticket: str) -> bool:
        nonlocal calls
        calls += 1
        await release.wait()
        return True

    async with running(run_next, limit=10) as dispatcher:
        dispatcher.offer(2)
        dispatcher.cover(5)
        dispatcher.cover(5)
        assert dispatcher.pending == 5
        release.set()
        while dispatcher.pending:
            await asyncio.sleep(0)
    assert calls == 5


async def test_a_failed_calls_own_ticket_is_reported_lost() -> None:
    tickets: list[str] = []
    lost: list[str] = []
    told = asyncio.Event()

    async def run_next(ticket: str) -> bool:
        tickets.append(ticket)
        if len(tickets) == 2:
            raise RuntimeError("replica died")
        return True

    async def tell(ticket: str) -> None:
        lost.append(ticket)
        told.set()

    async with running(run_next, limit=1, lost=tell) as dispatcher:
        dispatcher.offer(3)
        await asyncio.wait_for(told.wait(), 5)
        while dispatcher.pending:
            await asyncio.sleep(0)
    assert len(set(tickets)) == 3
    assert lost == [tickets[1]]


async def test_calls_that_fail_are_not_made_again_in_a_tight_loop_and_go_on_when_they_work() -> None:
    """Each failure asks for more, as recovery does when it finds the task still waiting."""
    broken = True
    times: list[float] = []
    worked = asyncio.Event()
    now = asyncio.get_running_loop().time

    async def run_next(ticket: str) -> bool:
        times.append(now())
        if broken:
            raise RuntimeError("no database")
        worked.set()
        return True

    async def again(ticket: str) -> None:
        dispatcher.offer()

    async with running(run_next, limit=4, lost=again) as dispatcher:
        dispatcher.offer(4)
        await asyncio.sleep(1.0)
        bursts = [time for before, time in itertools.pairwise([0.0, *times]) if time - before > 0.03]
        assert len(times) <= 4 * len(bursts), "those that fail together count once"
        assert 2 <= len(bursts) <= 6, "after pauses of up to 0.1, 0.2, 0.4 and 0.8 s"
        broken = False
        await asyncio.wait_for(worked.wait(), 5)


async def test_a_call_that_was_cancelled_at_the_other_end_is_lost_and_the_rest_goes_on() -> None:
    lost: list[str] = []
    worked = asyncio.Event()

    async def run_next(ticket: str) -> bool:
        if not lost:
            raise asyncio.CancelledError
        worked.set()
        return True

    async def tell(ticket: str) -> None:
        lost.append(ticket)
        dispatcher.offer()

    async with running(run_next, limit=1, lost=tell) as dispatcher:
        dispatcher.offer()
        await asyncio.wait_for(worked.wait(), 5)
    assert len(lost) == 1
