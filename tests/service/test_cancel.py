"""Work that nobody wants any more: it leaves the models' queues before an engine sees it, and it never becomes a result."""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serve_app.tasks.reasons import CANCELLED
from serve_app.tasks.task import Status
from tests.pictures import ASTRONAUT, head, png
from tests.service.client import Client
from tests.service.pipelines import items, site

SLOW_S = 3.0


async def test_items_of_cancelled_and_overdue_tasks_never_reach_an_engine(client: Client, tmp_path: Path) -> None:
    """In front of the detector and, beside it on the same cluster, of the swapper."""
    folders = [tmp_path / name for name in ("detector", "swapper")]
    await asyncio.gather(nothing_reaches(folders[0], "FaceDetector", "detect", 2), nothing_reaches(folders[1], "FaceSwapper", "swap", 1))


async def nothing_reaches(folder: Path, slow: str, engine: str, each: int) -> None:
    """each: items of a task, for this engine."""
    folder.mkdir()
    async with site(folder, name=folder.name, slow=slow, batch_s=SLOW_S) as here, asyncio.timeout(60):
        models = here.detector if slow == "FaceDetector" else here.swapper
        first = await here.submit()
        calls = [here.run_next("first")]
        while not await items(models, engine):
            await asyncio.sleep(0.02)
        began = time.monotonic()
        cancelled, overdue, stays = await here.submit(), await here.submit(deadline_s=1.0), await here.submit()
        calls += [here.run_next(ticket) for ticket in ("second", "third", "fourth")]
        for task in (cancelled, overdue, stays):
            await here.reaches(task, Status.SUBMITTED)
        assert await here.store.cancel(cancelled.id)
        done: set[asyncio.Task[bool]] = set()
        while len(done) < 2:
            done |= (await asyncio.wait(calls, timeout=0.02))[0]
        assert time.monotonic() - began < SLOW_S, "they were left while they waited"
        assert await items(models, engine) == each
        assert await asyncio.gather(*calls) == [True] * 4
        assert await items(models, engine) == 2 * each
        states = [await here.state(task) for task in (first, cancelled, overdue, stays)]
        assert [state.status for state in states] == [Status.SUCCESS, Status.FAILURE, Status.FAILURE, Status.SUCCESS]
        assert states[1].fail_reason == CANCELLED
        assert (states[2].fail_reason or "").startswith("执行超时")
        assert here.files() == sorted(str(state.result_name) for state in (states[0], states[3]))


def test_a_cancelled_task_never_ends_otherwise(client: Client, data_dir: Path) -> None:
    """Cancelled at any moment between its submit and its end: what it is when the cancel was answered, it stays."""
    target = png(head(0))

    def one(delay_s: float) -> tuple[str, dict[str, object]]:
        task = client.submit(ASTRONAUT.read_bytes(), target)
        time.sleep(delay_s)
        assert client.request("POST", f"/mj/task/{task}/cancel").status_code == 200
        return task, client.fetch(task)

    choose = random.Random(5)
    with ThreadPoolExecutor(4) as threads:
        ended = dict(threads.map(one, [0.0, *(choose.uniform(0, 0.8) for _ in range(30)), 3.0]))
    assert {state["status"] for state in ended.values()} == {"SUCCESS", "FAILURE"}, "too early or too late, all of them"
    client.swap(ASTRONAUT.read_bytes(), target)  # what was at work then has ended by now, one way or the other
    for task, state in ended.items():
        assert client.fetch(task) == state
        results = list((data_dir / "blobs" / "results").glob(f"{task}-*"))
        if state["status"] == "SUCCESS":
            assert len(client.picture(state)) > 0
            assert len(results) == 1
        else:
            assert state["failReason"] == CANCELLED
            assert results == []
