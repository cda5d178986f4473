"""The service's side: its own functions and engines, each of which a test may replace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from serve_app.engines.arcface import ArcFaceEngine
from serve_app.engines.choice import Precision
from serve_app.engines.inswapper import InSwapperEngine
from serve_app.engines.scrfd import SCRFDEngine
from serve_app.vision.arcface import arcface_square
from serve_app.vision.face import Faces, FaceSquare, Floats, Frame, Matrix, Patch, Pixels, Portrait, Square, SwapItem
from serve_app.vision.paste_square import overlapping, paste_squares
from serve_app.vision.scrfd import library_letterbox
from tests.parity.cases import SIDES
from tests.standins import Standins

CROP = 128


@dataclass(frozen=True, slots=True)
class Ours:
    """detect: by the number of frames. swap: a list of crops in batches. paste: squares one after another."""

    letterbox: Callable[[Pixels, int], Frame]
    detect: Callable[[tuple[Frame, ...]], Faces]
    crop: Callable[[Pixels, Floats, int], Square]
    embed: Callable[[Pixels, Floats], Floats]
    latent: Callable[[Floats], Floats]
    swap: Callable[[Sequence[Square], Floats], list[Patch]]
    paste: Callable[[Pixels, Sequence[tuple[Patch, Matrix]]], Pixels]

    def swap_all(self, picture: Pixels, keypoints: Sequence[Floats], embedding: Floats) -> Pixels:
        """All these faces replaced: together where they do not touch, else in their order."""
        matrices = [self.crop(picture, points, CROP).matrix for points in keypoints]
        for group in overlapping(matrices, CROP, (picture.shape[0], picture.shape[1])):
            squares = [self.crop(picture, keypoints[index], CROP) for index in group]
            patches = self.swap(squares, embedding)
            picture = self.paste(picture, [(patch, square.matrix) for patch, square in zip(patches, squares, strict=True)])
        return picture


def load(files: Standins, *, precision: Precision = "exact", buckets: tuple[int, ...] = (1,)) -> Ours:
    options: dict[str, Any] = {"precision": precision, "threads": 1, "buckets": buckets}
    detectors = {len(sides): SCRFDEngine(files.detector, sizes=sides, **options) for sides in (SIDES[1:], SIDES)}
    recogniser, swapper = ArcFaceEngine(files.recogniser, **options), InSwapperEngine(files.swapper, **options)

    def swap(squares: Sequence[Square], embedding: Floats) -> list[Patch]:
        source = Portrait(embedding, None)
        return through(swapper, [SwapItem(source, Portrait(None, square.pixels)) for square in squares])

    return Ours(
        library_letterbox,
        lambda frames: through(detectors[len(frames)], [frames])[0],
        arcface_square,
        lambda pixels, keypoints: through(recogniser, [FaceSquare(pixels, keypoints)])[0],
        swapper.latent,
        swap,
        paste_squares,
    )


def through(engine: Any, items: Sequence[Any]) -> list[Any]:
    raws = engine.run([engine.pre(item) for item in items])
    return [engine.post(item, raw) for item, raw in zip(items, raws, strict=True)]
