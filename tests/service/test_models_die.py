"""A replica of the models that dies costs a task the time until there is another one, and not its attempt."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from serve_app.tasks.task import Status
from tests.service.client import Client
from tests.service.pipelines import items, process, process_of, site


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
