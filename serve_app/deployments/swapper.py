"""FaceSwapper: makes the new faces, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serve_app.deployments import live, logs
from serve_app.deployments.batcher import Batcher
from serve_app.deployments.recorder import recorder
from serve_app.families import swapper_engine
from serve_app.settings import Settings
from serve_app.vision.face import FaceError, Patch, SwapItem


class FaceSwapper:
    def __init__(self, settings: Settings) -> None:
        logs.to_serve()
        self._settings = settings
        self._swap: Batcher[SwapItem, Patch] = Batcher(
            swapper_engine(settings), max_queued=settings.swapper.max_queued, model="swap", family=settings.family, record=recorder()
        )

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Ray Serve calls this with the deployment's `user_config`, at the start and when it changes."""
        buckets = live.changed("FaceSwapper", self._settings, user_config).swapper.buckets
        self._swap.use_buckets(buckets)

    async def swap(self, items: Sequence[SwapItem]) -> list[Patch | FaceError]:
        return await self._swap(items)

    async def check_health(self) -> None:
        """Ray Serve calls this every `health_check_period_s`, and replaces a replica that raises three times in a row."""
        await self._swap.check_health()

    async def info(self) -> dict[str, dict[str, str]]:
        return {"swap": self._swap.info()}
