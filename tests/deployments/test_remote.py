"""Calls of models: repeated while there is none, given up when replicas die under one task, left when they are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from ray.exceptions import ActorDiedError, ObjectFetchTimedOutError, ObjectLostError
from ray.serve.exceptions import BackPressureError

from serve_app.deployments import remote
from serve_app.deployments.batcher import BatchQueueFull, EngineBroke, EngineOut
from serve_app.deployments.remote import MOST_DEATHS, Attempt, ModelsUnavailable, RemoteModels


class Handle:
    """A deployment handle whose calls of any method do what `answer` does. Ray itself makes the errors in tests/service."""

    deployment_name = "FaceSwapper"

    def __init__(self, answer: Callable[..., Awaitable[Any]]) -> None:
        self._answer = answer

    def __getattr__(self, method: str) -> Handle:
        return self

    def remote(self, *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self._answer(*arguments))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(remote, "MOST_PAUSE_S", 0.002)


async def swap(attempt: Attempt, item: str = "item") -> list[Any]:
    """What comes back of a call with this item, which nothing here looks into."""
    return list(await attempt.swap([cast(Any, item)]))


def models(answer: Callable[..., Awaitable[Any]]) -> RemoteModels:
    handle = cast(Any, Handle(answer))
    return RemoteModels(handle, handle)


async def test_a_refused_call_is_made_again_however_often_and_is_no_death() -> None:
    errors: list[Exception] = [BackPressureError(1, 1), BatchQueueFull("full"), EngineOut("no device")] * 10

    async def answer(items: list[Any]) -> list[Any]:
        if errors:
            raise errors.pop()
        return items

    assert await swap(models(answer).attempt()) == ["item"]


async def test_an_answer_that_was_lost_with_its_node_is_asked_for_again() -> None:
    errors: list[Exception] = [ObjectLostError("0" * 56, None, ""), ObjectFetchTimedOutError("0" * 56, None, "")]

    async def answer(items: list[Any]) -> list[Any]:
        if errors:
            raise errors.pop()
        return items

    assert await swap(models(answer).attempt()) == ["item"]


@pytest.mark.parametrize("death", [ActorDiedError(), EngineBroke("no device")], ids=lambda error: type(error).__name__)
async def test_a_few_deaths_are_survived_and_one_more_is_the_tasks_own_fault(death: Exception) -> None:
    deaths = MOST_DEATHS - 1

    async def answer(items: list[Any]) -> list[Any]:
        nonlocal deaths
        if deaths:
            deaths -= 1
            raise death
        return items

    replicas = models(answer)
    assert await swap(replicas.attempt()) == ["item"]
    deaths = MOST_DEATHS
    with pytest.raises(ModelsUnavailable, match="replicas died under it"):
        await swap(replicas.attempt())
    assert deaths == 0, "not once more often"


async def test_deaths_count_for_the_whole_attempt() -> None:
    dying = True

    async def answer(items: list[Any]) -> list[Any]:
        nonlocal dying
        dying = not dying
        if not dying:
            raise ActorDiedError
        return items

    attempt = models(answer).attempt()
    for _ in range(MOST_DEATHS - 1):
        await swap(attempt)
    with pytest.raises(ModelsUnavailable):
        await swap(attempt)


async def test_a_picture_that_kills_does_not_take_its_neighbours_along() -> None:
    """All share a replica when it dies first; from then on each goes alone."""
    together: set[str] = set()
    died = asyncio.Event()

    async def answer(items: list[str]) -> list[str]:
        nonlocal died
        (item,) = items
        together.add(item)
        if item == "poison":
            await asyncio.sleep(0.005)
            together.clear()
            died.set()
            died = asyncio.Event()
            raise ActorDiedError
        death = asyncio.create_task(died.wait())
        if (await asyncio.wait([death], timeout=0.02))[0]:
            raise ActorDiedError
        death.cancel()
        together.discard(item)
        return items

    replicas = models(answer)
    calls = [swap(replicas.attempt(), item) for item in ("one", "poison", "two", "three")]
    one, poison, two, three = await asyncio.gather(*calls, return_exceptions=True)
    assert (one, two, three) == (["one"], ["two"], ["three"])
    assert isinstance(poison, ModelsUnavailable)


async def test_a_cancelled_call_is_cancelled_where_it_runs() -> None:
    began, left = asyncio.Event(), asyncio.Event()

    async def answer(items: list[Any]) -> list[Any]:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return items

    call = asyncio.create_task(swap(models(answer).attempt()))
    await began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(5):
        await left.wait()
