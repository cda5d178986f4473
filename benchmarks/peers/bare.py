"""What the models of a swap cost without anything around them: the bound of every service on this machine."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.scenes import pictures
from serve_app.engines.arcface import ArcFaceEngine
from serve_app.engines.choice import Precision
from serve_app.engines.inswapper import InSwapperEngine
from serve_app.engines.scrfd import SCRFDEngine
from serve_app.settings import DetectorSettings, SwapperSettings
from serve_app.vision.arcface import arcface_square
from serve_app.vision.face import FaceSquare, Portrait, SwapItem
from serve_app.vision.scrfd import library_letterbox

BUCKETS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one item, all slots busy with the same. cpu: of one core; wall: of the machine."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Bare:
    """The sessions' own time, the swapper's at its best batch size. buckets: of the swapper, that are worth having."""

    detect: Cost
    identify: Cost
    swap: Cost
    buckets: tuple[int, ...]

    def per_s(self, *, known: bool) -> float:
        """Swaps a second where nothing but the sessions runs. known: whether the source was looked at before."""
        looked_at, described = (1, 0) if known else (2, 1)
        return 1 / (looked_at * self.detect.wall + described * self.identify.wall + self.swap.wall)

    @property
    def cpu_s(self) -> float:
        """CPU of one swap of a new source."""
        return 2 * self.detect.cpu + self.identify.cpu + self.swap.cpu


def measure(models: Path, precision: Precision, seconds: float) -> Bare:
    """In a process of its own, which gives the memory back. seconds: for each of the three models, at least one round."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, models, precision, seconds).result()


def _measure(models: Path, precision: Precision, seconds: float) -> Bare:
    detector, swapper = DetectorSettings(), SwapperSettings()
    threads: dict[str, Any] = {"precision": precision, "threads": detector.threads, "slots": detector.slots}
    detect = SCRFDEngine(models / "det_10g.onnx", sizes=detector.sizes, **threads)
    identify = ArcFaceEngine(models / "w600k_r50.onnx", **threads)
    threads |= {"threads": swapper.threads, "slots": swapper.slots}
    swap = InSwapperEngine(models / "inswapper_128.onnx", buckets=BUCKETS, **threads)

    (picture,) = pictures(1, 0)
    frames = tuple(library_letterbox(picture, side) for side in detector.sizes)
    (found,) = _through(detect, [frames])
    small, large = (arcface_square(picture, found.keypoints[0], size) for size in (112, 128))
    (features,) = _through(identify, [FaceSquare(small.pixels, small.keypoints)])
    item = SwapItem(Portrait(features, None), Portrait(None, large.pixels))
    return Bare(
        _cost(detect, frames, seconds),
        _cost(identify, FaceSquare(small.pixels, small.keypoints), seconds),
        min((_cost(swap, item, seconds, bucket) for bucket in swap.buckets), key=lambda cost: cost.wall),
        swap.buckets,
    )


def _through(engine: Any, items: Sequence[Any]) -> list[Any]:
    raws = engine.run([engine.pre(item) for item in items])
    return [engine.post(item, raw) for item, raw in zip(items, raws, strict=True)]


def _cost(engine: Any, item: Any, seconds: float, bucket: int = 1) -> Cost:
    batch = [engine.pre(item)] * bucket
    engine.run(batch)  # warm
    start, cpu = time.perf_counter(), time.process_time()

    def rounds() -> tuple[int, float]:
        """How many, and their seconds: a slot that ends before another must not count as one that ran nothing."""
        number = 0
        while not number or time.perf_counter() < start + seconds:
            engine.run(batch)
            number += 1
        return number, time.perf_counter() - start

    with ThreadPoolExecutor(engine.slots) as slots:
        made = [each.result() for each in [slots.submit(rounds) for _ in range(engine.slots)]]
    items = len(batch) * sum(number for number, _ in made)
    return Cost(1 / (len(batch) * sum(number / taken for number, taken in made)), (time.process_time() - cpu) / items)
