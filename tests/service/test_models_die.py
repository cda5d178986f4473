"""A replica of the models that dies, or whose device does, costs a task the time until there is another one, and not its attempt."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve_app.deployments.swapper import FaceSwapper
from serve_app.engines.fake import Device
from serve_app.settings import Settings
from serve_app.tasks.task import Status
from tests.service.client import Client
from tests.service.pipelines import LIGHT, items, process, process_of, processes, site


class LosesDevice(FaceSwapper):
    """Its device is lost where the file `lost` of the site names this process: as with CUDA, each call of it fails at once from then on."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        engine: Any = self._swap.engine
        engine._device = Lost(settings.data_dir / "lost")


class Lost(Device):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def warm_up(self) -> None:
        self.run(1)

    def run(self, items: int) -> None:
        if self._file.exists() and self._file.read_text() == str(os.getpid()):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")


async def test_a_call_is_made_again_by_the_next_replica_also_when_serves_controller_dies_with_the_first(
    client: Client, tmp_path: Path
) -> None:
    async with site(tmp_path, batch_s=1.0, lease_s=4.0, renew_s=1.0) as here, asyncio.timeout(100):
        task = await here.submit()
        call = here.run_next("ticket")
        while not await items(here.swapper, "swap"):
            await asyncio.sleep(0.02)
        os.kill(process("ray::ServeController"), signal.SIGKILL)
        os.kill(process_of(0, "FaceSwapper"), signal.SIGKILL)
        assert await call
        ended = await here.state(task)
        assert (ended.status, ended.attempt, ended.fence) == (Status.SUCCESS, 1, 1)
        assert here.files() == [ended.result_name]


async def test_a_replica_whose_device_is_lost_is_replaced_and_no_task_fails_meanwhile(
    client: Client, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    two = {**LIGHT, "num_replicas": 2}
    async with site(tmp_path, models=two, swapper=LosesDevice) as here, asyncio.timeout(100):
        title = "ray::ServeReplica:pipeline-0:LosesDevice"
        sick, well = processes(title)
        (tmp_path / "lost").write_text(str(sick))
        began, longest, number = time.monotonic(), 0, 0
        while sick in processes(title):
            tasks = [await here.submit() for _ in range(4)]
            assert all(await asyncio.gather(*(here.run_next(task.id) for task in tasks)))
            ended = [await here.state(task) for task in tasks]
            assert {(task.status, task.attempt) for task in ended} == {(Status.SUCCESS, 1)}
            longest = max(longest, *((task.finish_time or 0) - task.submit_time for task in ended))
            number += len(ended)
        record_property("replaced after", f"{time.monotonic() - began:.1f} s")
        record_property("tasks meanwhile", f"{number}, the longest took {longest / 1000:.1f} s")
        while len(processes(title)) < 2:
            await asyncio.sleep(0.1)
        assert well in processes(title)
