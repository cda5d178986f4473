"""Models that are let go of when nobody needs them, and come back with the next task."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve_app.tasks.task import Status
from tests.service.client import Client
from tests.service.pipelines import LIGHT, site
from tests.service.processes import named

TO_ZERO: dict[str, Any] = {
    **{name: value for name, value in LIGHT.items() if name != "num_replicas"},
    "max_ongoing_requests": 64,
    "autoscaling_config": {
        "min_replicas": 0,
        "initial_replicas": 0,
        "max_replicas": 1,
        "target_ongoing_requests": 2,
        "metrics_interval_s": 0.2,
        "look_back_period_s": 1.0,
        "upscale_delay_s": 0.0,
        "downscale_delay_s": 1.0,
        "downscale_to_zero_delay_s": 1.0,
    },
}


def models() -> int:
    return sum(len(named(os.getsid(0), f"ray::ServeReplica:pipeline-0:{name}")) for name in ("FaceDetector", "FaceSwapper"))


async def test_models_go_to_zero_and_the_next_task_brings_them_back(
    client: Client, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with site(tmp_path, models=TO_ZERO) as here, asyncio.timeout(90):
        assert models() == 0
        for what in ("the first", "once they were gone"):
            task = await here.submit()
            assert await here.run_next("ticket")
            ended = await here.state(task)
            assert ended.status is Status.SUCCESS
            assert ended.finish_time is not None
            record_property(what, f"{(ended.finish_time - ended.submit_time) / 1000:.1f} s")
            assert ended.attempt == 1, "a task waits for models as long as it may"
            while models():
                await asyncio.sleep(0.05)
