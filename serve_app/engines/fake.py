"""Engines without weights or cost, for tests and load runs: one face in the middle of every frame, tinted for a swap."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Generic, TypeVar

import cv2
import numpy as np

from serve_app.vision.face import Faces, FaceSquare, Floats, Patch, Pixels, SwapItem

Item = TypeVar("Item")

# Left eye, right eye, nose, left and right mouth corner of an upright face, as shares of its box.
FACE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


class FakeEngine(Generic[Item]):
    """Passes items through; a batch of n sleeps seconds + n * seconds_per_item in the calling thread."""

    def __init__(
        self, *, seconds: float = 0.0, seconds_per_item: float = 0.0, slots: int = 1, buckets: tuple[int, ...] = (1, 2, 4, 8)
    ) -> None:
        self.buckets = buckets
        self.slots = slots
        self._seconds, self._seconds_per_item = seconds, seconds_per_item

    def warm_up(self) -> None:
        """Nothing to do."""

    def info(self) -> dict[str, str]:
        return {"model": type(self).__name__, "runtime": "none", "precision": "none"}

    def pre(self, item: Item) -> Item:
        return item

    def run(self, batch: Sequence[Item]) -> Sequence[Item]:
        time.sleep(self._seconds + len(batch) * self._seconds_per_item)
        return batch


class FakeDetector(FakeEngine[Pixels]):
    """Engine[Pixels, Pixels, Pixels, Faces]: one face, half as wide as the frame, in its middle."""

    def post(self, item: Pixels, raw: Pixels) -> Faces:
        height, width = item.shape[:2]
        box = np.array([width / 4, height / 4, width * 3 / 4, height * 3 / 4], np.float32)
        return Faces(box[None], np.ones(1, np.float32), (box[:2] + FACE * (box[2:] - box[:2]))[None])


class FakeMesh(FakeEngine[FaceSquare]):
    """Engine[FaceSquare, FaceSquare, FaceSquare, Floats]: nothing to be said of a face."""

    def post(self, item: FaceSquare, raw: FaceSquare) -> Floats:
        return np.zeros(1, np.float32)


class FakeSwap(FakeEngine[SwapItem]):
    """Engine[SwapItem, SwapItem, SwapItem, Patch]: the target's square, half of it the source's mean colour."""

    def post(self, item: SwapItem, raw: SwapItem) -> Patch:
        source, target = item.source.pixels, item.target.pixels
        if source is None or target is None:
            raise ValueError("a fake swap needs the squares of both faces")
        tinted = np.asarray(cv2.addWeighted(target, 0.5, np.full_like(target, cv2.mean(source)[:3]), 0.5, 0), np.uint8)
        return Patch(tinted, np.full(target.shape[:2], 255, np.uint8))
