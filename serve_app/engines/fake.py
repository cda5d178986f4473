"""Engines without weights, for tests and load runs: one face in the middle of every frame, tinted for a swap, on a simulated device."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np

from serve_app.vision.face import Faces, FaceSquare, Floats, Patch, Pixels, SwapItem

Item = TypeVar("Item")

# Left eye, right eye, nose, left and right mouth corner of an upright face, as shares of its box.
FACE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


class Device:
    """A simulated accelerator: one batch at a time, which takes seconds + n * seconds_per_item and no core.

    journal: folder in which this process's file says of every batch when it began, when it ended (seconds since the epoch) and how many
    items it had; the first line is of the warm-up, without items.
    """

    def __init__(self, seconds: float = 0.0, seconds_per_item: float = 0.0, journal: Path | None = None) -> None:
        self._seconds, self._seconds_per_item, self._journal = seconds, seconds_per_item, journal
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        self._note(time.time(), 0)

    def run(self, items: int) -> None:
        with self._lock:
            begin = time.time()
            time.sleep(self._seconds + items * self._seconds_per_item)
            self._note(begin, items)

    def _note(self, begin: float, items: int) -> None:
        if self._journal is not None:
            self._journal.mkdir(parents=True, exist_ok=True)
            with (self._journal / str(os.getpid())).open("a") as file:
                file.write(f"{begin:.6f} {time.time():.6f} {items}\n")


class FakeEngine(Generic[Item]):
    """Passes items through, a batch at a time over the device; engines of one replica may share it."""

    def __init__(self, device: Device | None = None, *, slots: int = 1, buckets: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        self.buckets = buckets
        self.slots = slots
        self._device = device or Device()

    def warm_up(self) -> None:
        self._device.warm_up()

    def info(self) -> dict[str, str]:
        return {"model": type(self).__name__, "runtime": "none", "precision": "none"}

    def pre(self, item: Item) -> Item:
        return item

    def run(self, batch: Sequence[Item]) -> Sequence[Item]:
        self._device.run(len(batch))
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
