"""One swap, from two files to one: read this first.

The models are behind three async verbs (`Models`), wherever they run: this module knows neither Ray nor HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ParamSpec, Protocol, TypeVar

from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Patch, Pixels, Portrait, Square, SwapItem
from serve_app.vision.geometry import axis_square, cut
from serve_app.vision.image import ImageError, Picture, decode, encode, letterbox
from serve_app.vision.paste import paste

P = ParamSpec("P")
T = TypeVar("T")

SOURCE = "人脸图片 (source picture)"
TARGET = "目标图片 (target picture)"


class SwapError(Exception):
    """The swap cannot be made; the message tells the user which picture is at fault and why."""


class Models(Protocol):
    """What a swap asks of the models; batching and transport are theirs. An item that cannot be done is answered with its FaceError."""

    async def detect(self, frames: Sequence[Pixels]) -> list[Faces | FaceError]:
        """Faces of letterboxed frames, each (side, side, 3) uint8 BGR, in the frame's pixels."""

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        """The family's description of each face square: its features, as `Portrait` has them."""

    async def swap(self, items: Sequence[SwapItem]) -> list[Patch | FaceError]:
        """The new face of each target square."""


class InThread(Protocol):
    """Runs CPU work off the event loop, as `asyncio.to_thread` does."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class SwapOptions:
    """frame_side: letterbox for detection; square_side: largest face square; both pixels. quality: JPEG and WebP."""

    frame_side: int = 640
    square_side: int = 640
    quality: int = 95


@dataclass(slots=True)
class Stages:
    """Wall-clock milliseconds of each stage, in the order in which they ran."""

    ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = round(self.ms.get(name, 0.0) + (time.perf_counter() - start) * 1e3, 1)


@dataclass(frozen=True, slots=True)
class Swapped:
    """The result's file, in the target's format and size, and which faces were used (for the task's properties)."""

    data: bytes
    format: str
    faces: dict[str, object]


@dataclass(frozen=True, slots=True)
class Opened:
    picture: Picture
    frame: Pixels
    scale: float


async def swap_faces(
    source: bytes,
    target: bytes,
    models: Models,
    options: SwapOptions,
    *,
    found: Callable[[], Awaitable[None]] | None = None,
    in_thread: InThread = asyncio.to_thread,
    stages: Stages | None = None,
) -> Swapped:
    """The largest face of `source` put on the largest face of `target` (JPEG, PNG or WebP files).

    `found` is awaited once both faces are known: from then on the work is under way.
    Pixels outside the face are the decoded target's own. Raises SwapError.
    """
    stages = stages or Stages()
    with stages.measure("decode"):
        from_, onto = await asyncio.gather(in_thread(_open, SOURCE, source, options), in_thread(_open, TARGET, target, options))
    with stages.measure("detect"):
        in_source, in_target = await models.detect([from_.frame, onto.frame])
        source_faces = _usable(SOURCE, in_source).scaled(1 / from_.scale)
        target_faces = _usable(TARGET, in_target).scaled(1 / onto.scale)
    with stages.measure("cut"):
        source_square = await in_thread(_cut_largest, SOURCE, from_, source_faces, options)
        del from_  # a decoded photograph may be 120 MB; from here on the square is enough
        target_square = await in_thread(_cut_largest, TARGET, onto, target_faces, options)
    if found is not None:
        await found()
    with stages.measure("identify"):
        squares = [FaceSquare(square.pixels, square.keypoints) for square in (source_square, target_square)]
        source_features, target_features = await models.identify(squares)
        item = SwapItem(
            source=Portrait(_usable(SOURCE, source_features), source_square.pixels),
            target=Portrait(_usable(TARGET, target_features), target_square.pixels),
        )
    with stages.measure("swap"):
        (patch,) = await models.swap([item])
    with stages.measure("paste"):
        pixels = await in_thread(paste, onto.picture.bgr, [(_usable("换脸失败 (swap)", patch), target_square.matrix)])
    with stages.measure("encode"):
        try:
            data = await in_thread(encode, replace(onto.picture, bgr=pixels), quality=options.quality)
        except ImageError as error:
            raise SwapError(f"{TARGET}: {error}") from error
    return Swapped(data, onto.picture.format, {"source": _chosen(source_faces), "target": _chosen(target_faces)})


def _usable(name: str, outcome: T | FaceError) -> T:
    if isinstance(outcome, FaceError):
        raise SwapError(f"{name}: {outcome}") from outcome
    return outcome


def _open(name: str, data: bytes, options: SwapOptions) -> Opened:
    try:
        picture = decode(data)
    except ImageError as error:
        raise SwapError(f"{name}: {error}") from error
    frame, scale = letterbox(picture.bgr, options.frame_side)
    return Opened(picture, frame, scale)


def _cut_largest(name: str, opened: Opened, faces: Faces, options: SwapOptions) -> Square:
    if not len(faces):
        raise SwapError(f"{name}: 未检测到人脸 (no face was found; use a picture in which a face is clearly visible)")
    keypoints = faces.keypoints[faces.largest()]
    try:
        matrix, side = axis_square(opened.picture.bgr.shape[:2], keypoints, max_side=options.square_side)
    except ValueError as error:
        raise SwapError(f"{name}: the face that was found is not usable: {error}") from error
    return cut(opened.picture.bgr, matrix, side, keypoints)


def _chosen(faces: Faces) -> dict[str, object]:
    """Which face was used, and of how many: box x1 y1 x2 y2 in pixels of the upright picture."""
    index = faces.largest()
    return {"count": len(faces), "box": [round(float(v), 1) for v in faces.boxes[index]], "score": round(float(faces.scores[index]), 4)}
