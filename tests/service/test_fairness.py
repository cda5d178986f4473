"""One key's flood beside another key's single task: real pipeline, real calls, models that only take time."""

from __future__ import annotations

import asyncio
import statistics
from functools import partial
from pathlib import Path

from serve_app.deployments.dispatcher import Dispatcher
from serve_app.settings import Settings
from serve_app.tasks.query import Query
from serve_app.tasks.task import Status, Task
from tests.service.client import Client
from tests.service.pipelines import Site, site

FLOOD = 1000
TWO_BATCHES = 4  # of the one FaceSwapper: two of one face each run at a time, and two are made ready


async def test_a_thousand_tasks_of_one_key_are_in_nobodys_way(client: Client, tmp_path: Path) -> None:
    """Another key's task is the next one begun: it waits for what is in flight, which is two batches, and takes its own time."""
    assert Settings().in_flight == TWO_BATCHES
    async with site(tmp_path, batch_s=0.1) as here, asyncio.timeout(120):
        for _ in range(FLOOD // 50):
            await asyncio.gather(*(here.submit(owner="flood") for _ in range(50)))
        dispatcher = Dispatcher(here.pipelines[0].run_next.remote, limit=8, finished=lambda: None, lost=here.store.expire)
        running = asyncio.create_task(dispatcher.run())
        try:
            dispatcher.offer(FLOOD)
            await _ended(here, 2 * TWO_BATCHES)
            task = await here.submit(owner="single")
            dispatcher.offer()
            await here.reaches(task, Status.SUCCESS)
            single = await here.state(task)
            await _ended(here, 4 * TWO_BATCHES)
        finally:
            running.cancel()
        flood = [other for other in await _claimed(here) if other.owner == "flood"]
        assert single.start_time is not None
        assert single.finish_time is not None
        first = single.submit_time
        overtaken = [other for other in flood if first < begun(other) < single.start_time]
        assert len(overtaken) <= 1, "one claim may have been made in the very moment of the submit"
        waited_for = [other for other in flood if other.finish_time is not None and first <= other.finish_time <= single.start_time]
        assert len(waited_for) <= TWO_BATCHES
        own = statistics.median(other.finish_time - begun(other) for other in flood if other.finish_time is not None)
        assert single.finish_time - single.start_time <= 3 * own, "it takes the time that any task takes"
        assert await here.store.count_waiting() > FLOOD / 2


def begun(task: Task) -> int:
    assert task.start_time is not None
    return task.start_time


async def _claimed(here: Site) -> list[Task]:
    page = await here.store.query(Query(size=1000, sort="start_time"))
    return [task for task in page.tasks if task.start_time is not None]


async def _ended(here: Site, number: int) -> None:
    """So many more tasks have."""
    count = partial(here.store.query, Query(size=1, status=Status.SUCCESS))
    target = (await count()).total + number
    while (await count()).total < target:
        await asyncio.sleep(0.02)
