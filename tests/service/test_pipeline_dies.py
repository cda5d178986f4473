"""A picture that kills the pipeline's process costs its own task its life, and its neighbours theirs not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from serve_app.deployments.dispatcher import Dispatcher
from serve_app.deployments.pipeline import Made, SwapPipeline
from serve_app.deployments.recovery import Recovery, every, meanwhile
from serve_app.stages import Stages
from serve_app.tasks.reasons import worn_out
from serve_app.tasks.task import Status, Task
from tests.service.client import Client
from tests.service.pipelines import Site, site

BATCH_S = 0.5


class Fragile(SwapPipeline):
    """Dies of the pictures of the key `poison`, as of a decoder that crashes, and tells the folder `deaths` whose tasks died with it."""

    at_work: ClassVar[list[str]] = []

    async def _make(self, task: Task, stages: Stages) -> Made:
        self.at_work.append(task.owner)
        if task.owner == "poison":
            await asyncio.sleep(BATCH_S / 2)  # for company
            folder = self._given.data_dir / "deaths"
            folder.mkdir(exist_ok=True)
            (folder / str(os.getpid())).write_text(" ".join(sorted(self.at_work)))
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return await super()._make(task, stages)
        finally:
            self.at_work.remove(task.owner)


@asynccontextmanager
async def dispatching(here: Site) -> AsyncIterator[None]:
    """What an Ingress does for its pipelines."""
    dispatcher = Dispatcher(here.pipelines[0].run_next.remote, limit=8, finished=lambda: None, lost=lambda ticket: recovery.lost(ticket))
    recovery = Recovery(here.store, here.blobs, cover=dispatcher.cover, ended=lambda: None, limit=8, settle_s=1.0)
    async with meanwhile(dispatcher.run(), every(1.0, "recovery", recovery.look)):
        yield


async def test_a_picture_that_kills_its_process_every_time_takes_no_neighbour_along(client: Client, tmp_path: Path) -> None:
    async with site(tmp_path, pipeline=Fragile, batch_s=BATCH_S, in_flight=4) as here, asyncio.timeout(100):
        poison = await here.submit(owner="poison")
        neighbours = [await here.submit(owner=key) for key in ("a", "b", "c")]
        async with dispatching(here):
            for task in (poison, *neighbours):
                await here.reaches(task, Status.SUCCESS)  # or FAILURE, which ranks the same
        ended = await here.state(poison)
        assert (ended.status, ended.fail_reason) == (Status.FAILURE, worn_out(3))
        assert [(await here.state(task)).status for task in neighbours] == [Status.SUCCESS] * 3
        deaths = [path.read_text() for path in (tmp_path / "deaths").iterdir()]
        assert sorted(deaths, key=len)[0] == "poison", "nobody was in danger the third time"
        assert (len(deaths), max(deaths, key=len)) == (3, "a b c poison"), "they were before"
