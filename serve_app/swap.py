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

from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Frame, Patch, Pixels, Portrait, Square, SwapItem
from serve_app.vision.framing import Framing
from serve_app.vision.image import ImageError, Picture, decode, encode

P = ParamSpec("P")
T = TypeVar("T")

SOURCE = "人脸图片 (source picture)"
TARGET = "目标图片 (target picture)"


class SwapError(Exception):
    """The swap cannot be made; the message tells the user which picture is at fault and why."""


class Models(Protocol):
    """What a swap asks of the models; batching and transport are theirs. An item that cannot be done is answered with its FaceError."""

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        """Faces of framed pictures, in pixels of the pictures."""

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        """The family's description of each face square: its features, as `Portrait` has them."""

    async def swap(self, items: Sequence[SwapItem]) -> list[Patch | FaceError]:
        """The new face of each target square."""


class InThread(Protocol):
    """Runs CPU work off the event loop, as `asyncio.to_thread` does."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...


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
    frames: tuple[Frame, ...]


async def swap_faces(
    source: bytes,
    target: bytes,
    models: Models,
    framing: Framing,
    *,
    quality: int = 95,
    found: Callable[[], Awaitable[None]] | None = None,
    in_thread: InThread = asyncio.to_thread,
    stages: Stages | None = None,
) -> Swapped:
    """The largest face of `source` put on the largest face of `target` (JPEG, PNG or WebP files).

    framing: how the models want to see pictures. quality: of JPEG and WebP. `found` is awaited once both faces are known: from
    then on the work is under way. Pixels outside the face are the decoded target's own. Raises SwapError.
    """
    stages = stages or Stages()
    with stages.measure("decode"):
        from_, onto = await asyncio.gather(in_thread(_open, SOURCE, source, framing), in_thread(_open, TARGET, target, framing))
    with stages.measure("detect"):
        in_source, in_target = await models.detect([from_.frames, onto.frames])
        source_faces, target_faces = _usable(SOURCE, in_source), _usable(TARGET, in_target)
    with stages.measure("cut"):
        source_square = await in_thread(_cut_largest, SOURCE, framing.source, from_.picture.bgr, source_faces)
        del from_  # a decoded photograph may be 120 MB; from here on the square is enough
        target_square = await in_thread(_cut_largest, TARGET, framing.target, onto.picture.bgr, target_faces)
    if found is not None:
        await found()
    with stages.measure("identify"):
        item = await _identify(models, framing, source_square, target_square)
    with stages.measure("swap"):
        (patch,) = await models.swap([item])
    with stages.measure("paste"):
        pixels = await in_thread(framing.paste, onto.picture.bgr, [(_usable("换脸失败 (swap)", patch), target_square.matrix)])
    with stages.measure("encode"):
        try:
            data = await in_thread(encode, replace(onto.picture, bgr=pixels), quality=quality)
        except ImageError as error:
            raise SwapError(f"{TARGET}: {error}") from error
    return Swapped(data, onto.picture.format, {"source": _chosen(source_faces), "target": _chosen(target_faces)})


async def _identify(models: Models, framing: Framing, source: Square, target: Square) -> SwapItem:
    squares = [source, target] if framing.target_features else [source]
    features = await models.identify([FaceSquare(square.pixels, square.keypoints) for square in squares])
    target_features = _usable(TARGET, features[1]) if framing.target_features else None
    return SwapItem(Portrait(_usable(SOURCE, features[0]), source.pixels), Portrait(target_features, target.pixels))


def _usable(name: str, outcome: T | FaceError) -> T:
    if isinstance(outcome, FaceError):
        raise SwapError(f"{name}: {outcome}") from outcome
    return outcome


def _open(name: str, data: bytes, framing: Framing) -> Opened:
    try:
        picture = decode(data)
    except ImageError as error:
        raise SwapError(f"{name}: {error}") from error
    return Opened(picture, framing.frames(picture.bgr))


def _cut_largest(name: str, square: Callable[[Pixels, Floats], Square], bgr: Pixels, faces: Faces) -> Square:
    if not len(faces):
        raise SwapError(f"{name}: 未检测到人脸 (no face was found; use a picture in which a face is clearly visible)")
    try:
        return square(bgr, faces.keypoints[faces.largest()])
    except FaceError as error:
        raise SwapError(f"{name}: {error}") from error


def _chosen(faces: Faces) -> dict[str, object]:
    """Which face was used, and of how many: box x1 y1 x2 y2 in pixels of the upright picture."""
    index = faces.largest()
    return {"count": len(faces), "box": [round(float(v), 1) for v in faces.boxes[index]], "score": round(float(faces.scores[index]), 4)}
