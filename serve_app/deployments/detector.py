"""FaceDetector: finds faces and describes them, in batches."""

from __future__ import annotations

from collections.abc import Sequence

from serve_app.deployments import logs
from serve_app.deployments.batcher import Batcher
from serve_app.deployments.recorder import recorder
from serve_app.families import detector_engines
from serve_app.settings import Settings
from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Frame


class FaceDetector:
    def __init__(self, settings: Settings) -> None:
        logs.to_serve()
        detect, identify = detector_engines(settings)
        most, family, record = settings.detector.max_queued, settings.family, recorder()
        self._detect: Batcher[tuple[Frame, ...], Faces] = Batcher(detect, max_queued=most, model="detect", family=family, record=record)
        self._identify: Batcher[FaceSquare, Floats] = Batcher(identify, max_queued=most, model="identify", family=family, record=record)

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        return await self._detect(pictures)

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        return await self._identify(faces)

    async def info(self) -> dict[str, dict[str, str]]:
        return {"detect": self._detect.info(), "identify": self._identify.info()}
