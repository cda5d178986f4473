"""What is down is waited for, with one line in the log, and no longer than there is time."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

from serve_app.deployments.retry import Patient, pauses, to_its_end
from serve_app.tasks.database import DatabaseUnavailable


def test_pauses_grow_to_their_bound_and_are_not_the_same_for_everybody() -> None:
    waits = list(itertools.islice(pauses(0.1, 2.0), 8))
    for wait, most in zip(waits, [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0], strict=True):
        assert most / 2 <= wait <= most
    assert waits != list(itertools.islice(pauses(0.1, 2.0), 8))


async def test_a_call_is_repeated_until_it_works_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    down = [True, True, True]
    patient = Patient("the database")

    async def call() -> str:
        if down:
            down.pop()
            raise DatabaseUnavailable("PostgreSQL: ConnectionRefusedError")
        return "done"

    with caplog.at_level(logging.INFO):
        assert await patient(call) == "done"
        assert await patient(call) == "done"
    first, last = caplog.messages
    assert first == "the database: PostgreSQL: ConnectionRefusedError; trying again until it works"
    assert last.startswith("the database: it works again")


async def test_no_try_is_made_after_the_end_but_always_one() -> None:
    tries = 0

    async def call() -> None:
        nonlocal tries
        tries += 1
        raise DatabaseUnavailable("down")

    now = asyncio.get_running_loop().time()
    with pytest.raises(DatabaseUnavailable):
        await Patient("the database")(call, until=now - 1)
    assert tries == 1
    async with asyncio.timeout(5):
        with pytest.raises(DatabaseUnavailable):
            await Patient("the database")(call, until=now + 0.3)
    assert tries > 2


async def test_other_errors_are_not_repeated() -> None:
    async def call() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await Patient("the database")(call)


async def test_who_is_cancelled_hears_of_it_when_the_work_has_ended() -> None:
    go_on = asyncio.Event()
    ended = False

    async def work() -> None:
        nonlocal ended
        await go_on.wait()
        ended = True

    task = asyncio.create_task(to_its_end(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=0.05)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
