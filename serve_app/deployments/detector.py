"""FaceDetector: finds faces and describes them, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serve_app.deployments import live, logs
from serve_app.deployments.batcher import Batcher
from serve_app.deployments.recorder import recorder
from serve_app.families import detector_engines
from serve_app.settings import Settings
from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Frame


class FaceDetector:
    def __init__(self, settings: Settings) -> None:
        logs.to_serve()
        self._settings = settings
        detect, identify = detector_engines(settings)
        most, family, record = settings.detector.max_queued, settings.family, recorder()
        self._detect: Batcher[tuple[Frame, ...], Faces] = Batcher(detect, max_queued=most, model="detect", family=family, record=record)
        self._identify: Batcher[FaceSquare, Floats] = Batcher(identify, max_queued=most, model="identify", family=family, record=record)

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Ray Serve calls this with the deployment's `user_config`, at the start and when it changes."""
        buckets = live.changed("FaceDetector", self._settings, user_config).detector.buckets
        for batcher in (self._detect, self._identify):
            batcher.use_buckets(buckets)

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        return await self._detect(pictures)

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        return await self._identify(faces)

    async def check_health(self) -> None:
        """Ray Serve calls this every `health_check_period_s`, and replaces a replica that raises three times in a row."""
        for batcher in (self._detect, self._identify):
            await batcher.check_health()

    async def info(self) -> dict[str, dict[str, str]]:
        return {"detect": self._detect.info(), "identify": self._identify.info()}
