"""One swap, from two files to one: read this first.

The models are behind three async verbs (`Models`), wherever they run: this module knows neither Ray nor HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import ParamSpec, Protocol, TypeVar

import numpy as np

from serve_app.choice import Choice, Giver, choose, pick
from serve_app.options import NOTHING_ASKED, Options
from serve_app.result import write
from serve_app.vision.crowd import Crowd, gather, turned, turned_back
from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Frame, Matrix, Patch, Pixels, Portrait, Square, SwapItem
from serve_app.vision.framing import Framing
from serve_app.vision.image import ImageError, Note, Picture, decode
from serve_app.vision.quality import Quality

P = ParamSpec("P")
T = TypeVar("T")

SOURCE = "人脸图片 (source picture)"
TARGET = "目标图片 (target picture)"
REFERENCE = "参考图片 (reference picture)"
FAILED = "换脸失败 (swap)"
_MEMBERS = {SOURCE: "source", TARGET: "target", REFERENCE: "reference"}


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
    """The result's file, in the target's size, and which faces were used (for the task's properties).

    notes: what was done to the pictures that their owners may not expect. output: how it was written, where that is not simply as the
    target.
    """

    data: bytes
    format: str
    faces: dict[str, object]
    notes: tuple[dict[str, str], ...] = ()
    output: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class FaceLimits:
    """most: faces of one target that are swapped. min_face: shorter side of the box, in pixels, of a face that may be swapped.
    at_once: faces of one picture in one call of a model; as many sources may come with them to be described.
    """

    most: int = 64
    min_face: int = 0
    at_once: int = 16


NO_LIMITS = FaceLimits()


@dataclass(frozen=True, slots=True)
class Opened:
    name: str
    picture: Picture
    frames: tuple[Frame, ...]


@dataclass(slots=True)
class Source:
    """One face to be given. features: None until it was asked for."""

    name: str
    crowd: Crowd
    index: int
    square: Square
    features: Floats | None = None


async def swap_faces(
    source: bytes,
    target: bytes,
    models: Models,
    framing: Framing,
    *,
    options: Options = NOTHING_ASKED,
    more: Sequence[bytes] = (),
    limits: FaceLimits = NO_LIMITS,
    quality: int = 95,
    found: Callable[[], Awaitable[None]] | None = None,
    in_thread: InThread = asyncio.to_thread,
    stages: Stages | None = None,
) -> Swapped:
    """Faces of `source` put on those of `target` that `options` choose (picture files): of each the largest, unless they say otherwise.

    framing: how the models want to see pictures. more: the further pictures of `options`. quality: of what is written with loss. `found` is
    awaited once all faces are known: from then on the work is under way. Pixels outside the faces are the decoded target's own. Faces are
    swapped in the order of their indexes; where two overlap, the later one sees what the earlier one left, as the framing has it.
    Raises SwapError.
    """
    stages = stages or Stages()
    look = _Look(models, framing, in_thread, stages, limits.at_once)
    from_, onto = await look.open((SOURCE, source), (TARGET, target))
    in_source, crowd = await look.find(from_, onto)
    sources = await look.cut(None, from_, in_source, options)
    del from_  # a decoded photograph may be 120 MB; from here on the square is enough
    for number in range(len(more)):
        if number != options.nearest:  # one after the other: all of them may not fit into memory
            (opened,) = await look.open((_name_of(number, options), more[number]))
            sources |= await look.cut(number, opened, (await look.find(opened))[0], options)
            del opened
    nearest = None if options.nearest is None else await look.nearest(more[options.nearest], onto, crowd, limits.most)
    with _named(TARGET):
        choice = choose(options, crowd, most=limits.most, min_face=limits.min_face, nearest=nearest)
    swap = _Swap(look, onto, crowd, choice, sources, found)
    pixels = await swap.run()
    with stages.measure("encode"):
        try:
            written = await in_thread(write, replace(onto.picture, bgr=pixels), options.output, quality)
        except ImageError as error:
            raise SwapError(f"{TARGET}: {error}") from error
    notes = (*look.notes, *_told("result", written.notes))
    return Swapped(written.data, written.format, swap.report(options), notes, written.output)


async def find_faces(
    data: bytes, models: Models, framing: Framing, *, limits: FaceLimits = NO_LIMITS, in_thread: InThread = asyncio.to_thread
) -> dict[str, object]:
    """The faces of a picture, numbered as `swap_faces` numbers them, and how well each of the largest lends itself to a swap.

    Raises SwapError.
    """
    look = _Look(models, framing, in_thread, Stages(), limits.at_once)
    (opened,) = await look.open((TARGET, data))
    (crowd,) = await look.find(opened)
    features = await look.features(opened, crowd, crowd.by_size()[: limits.most]) if framing.target_features else {}
    height, width = opened.picture.bgr.shape[:2]
    shown = [
        {
            **crowd.shown(index),
            "keypoints": [[round(float(value), 1) for value in point] for point in crowd.faces.keypoints[index]],
            **framing.quality(features.get(index), crowd.faces.keypoints[index], float(crowd.sides[index])).shown(),
        }
        for index in range(len(crowd))
    ]
    return {"width": width, "height": height, "turned": crowd.turned, "count": len(crowd), "faces": shown}


class _Look:
    """Opens pictures and finds faces in them."""

    def __init__(self, models: Models, framing: Framing, in_thread: InThread, stages: Stages, at_once: int) -> None:
        self.models, self.framing, self.in_thread, self.stages = models, framing, in_thread, stages
        self.notes: list[dict[str, str]] = []
        self._at_once = at_once

    def portions(self, indices: Sequence[int]) -> Iterator[Sequence[int]]:
        """So that a crowd neither fills the models' queues nor holds back other tasks."""
        return (indices[at : at + self._at_once] for at in range(0, len(indices), self._at_once))

    async def open(self, *files: tuple[str, bytes]) -> list[Opened]:
        with self.stages.measure("decode"):
            opened = list(await asyncio.gather(*(self.in_thread(_open, name, data, self.framing) for name, data in files)))
        for one in opened:
            self.notes += _told(_MEMBERS.get(one.name) or one.name.removeprefix(f"{SOURCE} "), one.picture.notes)
        return opened

    async def find(self, *opened: Opened) -> list[Crowd]:
        """Where nothing looks like a face, the picture may lie on its side."""
        with self.stages.measure("detect"):
            outcomes = await self.models.detect([one.frames for one in opened])
            crowds = [gather(_usable(one.name, outcome)) for one, outcome in zip(opened, outcomes, strict=True)]
            return [crowd if crowd.plausible else await self._find_turned(one, crowd) for one, crowd in zip(opened, crowds, strict=True)]

    async def _find_turned(self, opened: Opened, upright: Crowd) -> Crowd:
        """Of the three ways the one with the surest face; what was found upright where there is none."""
        bgr = opened.picture.bgr
        frames = await self.in_thread(lambda: [(degrees, self.framing.frames(pixels)) for degrees, pixels in turned(bgr)])
        outcomes = await self.models.detect([some for _, some in frames])
        found = [
            (float(outcome.scores.max()), degrees, outcome)
            for (degrees, _), outcome in zip(frames, outcomes, strict=True)
            if not isinstance(outcome, FaceError) and len(outcome)
        ]
        if not found:
            return upright
        _, degrees, faces = max(found, key=lambda one: (one[0], -one[1]))
        return gather(turned_back(faces, degrees, bgr.shape), degrees)

    async def cut(self, number: int | None, opened: Opened, crowd: Crowd, options: Options) -> dict[Giver, Source]:
        """The faces of a source picture that the options ask for."""
        wanted = [Giver(one.picture, one.face) for one in options.sources if one.picture == number]
        if number is None and options.main:
            wanted.append(Giver(None, options.source_face))
        with self.stages.measure("cut"), _named(opened.name):
            found = {}
            for giver in dict.fromkeys(wanted):
                index = pick(crowd, giver.face)
                square = await self.in_thread(self.framing.source, opened.picture.bgr, crowd.faces.keypoints[index])
                found[giver] = Source(opened.name, crowd, index, square)
            return found

    async def features(self, opened: Opened, crowd: Crowd, indices: Sequence[int]) -> dict[int, Floats]:
        """By face, of those that can be described."""
        found: dict[int, Floats] = {}
        for some in self.portions(indices):
            squares: dict[int, FaceSquare] = {}
            for index in some:
                with suppress(FaceError):
                    square = await self.in_thread(self.framing.source, opened.picture.bgr, crowd.faces.keypoints[index])
                    squares[index] = FaceSquare(square.pixels, square.keypoints)
            described = await self.models.identify(list(squares.values())) if squares else []
            found |= {index: one for index, one in zip(squares, described, strict=True) if not isinstance(one, FaceError)}
        return found

    async def nearest(self, reference: bytes, onto: Opened, crowd: Crowd, most: int) -> int:
        """The face of the target, among its `most` largest, that is most like the largest one of the reference."""
        (opened,) = await self.open((REFERENCE, reference))
        (there,) = await self.find(opened)
        with _named(REFERENCE):
            wanted = await self.features(opened, there, [pick(there, "largest")])
            if not wanted:
                raise FaceError("the face cannot be described; use a picture that shows it more clearly")
        with _named(TARGET):
            pick(crowd, "largest")
            known = await self.features(onto, crowd, crowd.by_size()[:most])
            if not known:
                raise FaceError(f"no face can be compared with the reference; {crowd.listed()}")
        (person,) = wanted.values()
        return max(known, key=lambda index: (_likeness(known[index], person), -index))


class _Swap:
    """The chosen faces of one target, replaced."""

    def __init__(
        self,
        look: _Look,
        onto: Opened,
        crowd: Crowd,
        choice: Choice,
        sources: dict[Giver, Source],
        found: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._models, self._framing, self._in_thread, self._stages = look.models, look.framing, look.in_thread, look.stages
        self._portions = look.portions
        self._onto, self._crowd, self._choice, self._sources = onto, crowd, choice, sources
        self._found = found
        self._left = dict(choice.left)
        self._done: dict[int, Quality] = {}

    async def run(self) -> Pixels:
        """The target's pixels with the new faces. Raises SwapError where a face that was named, or all of them, cannot be swapped."""
        givers = list(self._choice.givers)
        keypoints = self._crowd.faces.keypoints
        turns = self._framing.turns([keypoints[index] for index in givers], self._onto.picture.bgr.shape)
        below = self._onto.picture.bgr
        for turn in turns:
            result = below
            for some in self._portions([givers[number] for number in turn]):
                result = await self._some(some, below, result)
            below = result
        if not self._done:
            why = "; ".join(f"{index}: {reason}" for index, reason in list(self._left.items())[:20])
            raise SwapError(f"{TARGET}: 没有可用的人脸 (no face could be swapped: {why})")
        return below

    async def _some(self, indices: Sequence[int], below: Pixels, result: Pixels) -> Pixels:
        """Faces cut out of `below`, made, and laid onto `result`."""
        with self._stages.measure("cut"):
            squares: dict[int, Square] = {}
            for index in indices:
                with self._excused(index):
                    squares[index] = await self._in_thread(self._framing.target, below, self._crowd.faces.keypoints[index])
        if self._found is not None:
            await self._found()
            self._found = None
        with self._stages.measure("identify"):
            items = await self._identify(squares)
        with self._stages.measure("swap"):
            outcomes = await self._models.swap(list(items.values())) if items else []
        patches: list[tuple[Patch, Matrix]] = []
        for (index, item), outcome in zip(items.items(), outcomes, strict=True):
            with self._excused(index, FAILED):
                patches.append((_raised(outcome), squares[index].matrix))
                side = float(self._crowd.sides[index])
                self._done[index] = self._framing.quality(item.target.features, self._crowd.faces.keypoints[index], side)
        with self._stages.measure("paste"):
            return await self._in_thread(self._framing.paste, result, patches) if patches else result

    async def _identify(self, squares: dict[int, Square]) -> dict[int, SwapItem]:
        """Sources are described once, together with the first targets that they are for."""
        givers = {index: self._sources[self._choice.givers[index]] for index in squares}
        new = [source for source in {id(one): one for one in givers.values()}.values() if source.features is None]
        asked = [source.square for source in new] + (list(squares.values()) if self._framing.target_features else [])
        features = await self._models.identify([FaceSquare(square.pixels, square.keypoints) for square in asked]) if asked else []
        for source, outcome in zip(new, features, strict=False):
            source.features = _usable(source.name, outcome)
        described = dict(zip(squares, features[len(new) :], strict=False))
        items: dict[int, SwapItem] = {}
        for index, square in squares.items():
            with self._excused(index):
                own = _raised(described[index]) if self._framing.target_features else None
                source = givers[index]
                items[index] = SwapItem(Portrait(source.features, source.square.pixels), Portrait(own, square.pixels))
        return items

    @contextmanager
    def _excused(self, index: int, name: str = TARGET) -> Iterator[None]:
        """A face that cannot be swapped is left alone, unless it was named."""
        try:
            yield
        except FaceError as error:
            if index in self._choice.named:
                raise SwapError(f"{name}: {error}") from error
            self._left[index] = str(error)

    def report(self, options: Options) -> dict[str, object]:
        """For the task's properties."""
        (first, *_) = self._sources.values()
        used = next(index for index in self._crowd.by_size() if index in self._done)
        faces = [{**self._crowd.shown(index), **self._fate(index, options)} for index in range(len(self._crowd))]
        return {
            "source": {**_chosen(first.crowd, first.index), **self._source_quality(first)},
            "target": {**_chosen(self._crowd, used), "faces": faces},
        }

    def _fate(self, index: int, options: Options) -> dict[str, object]:
        if index not in self._done:
            return {"swapped": False, "reason": self._left[index]}
        giver = self._choice.givers[index]
        own = {"source": {"picture": options.shown(giver.picture), "face": self._sources[giver].index}} if options.sources else {}
        return {"swapped": True, **own, **self._done[index].shown()}

    def _source_quality(self, source: Source) -> dict[str, object]:
        keypoints, side = source.crowd.faces.keypoints[source.index], float(source.crowd.sides[source.index])
        return self._framing.quality(source.features, keypoints, side).shown()


def _usable(name: str, outcome: T | FaceError) -> T:
    with _named(name):
        return _raised(outcome)


def _raised(outcome: T | FaceError) -> T:
    if isinstance(outcome, FaceError):
        raise outcome
    return outcome


@contextmanager
def _named(name: str) -> Iterator[None]:
    """A FaceError becomes a SwapError that says which picture it is about."""
    try:
        yield
    except FaceError as error:
        raise SwapError(f"{name}: {error}") from error


def _name_of(number: int, options: Options) -> str:
    return f"{SOURCE} options.sources.{options.shown(number)}"


def _told(name: str, notes: Sequence[Note]) -> list[dict[str, str]]:
    """For the task's properties."""
    return [{"picture": name, "code": note.code, "text": note.text} for note in notes]


def _open(name: str, data: bytes, framing: Framing) -> Opened:
    try:
        picture = decode(data)
    except ImageError as error:
        raise SwapError(f"{name}: {error}") from error
    return Opened(name, picture, framing.frames(picture.bgr))


def _likeness(a: Floats, b: Floats) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9))


def _chosen(crowd: Crowd, index: int) -> dict[str, object]:
    """Which face was used, and of how many."""
    lying = {"turned": crowd.turned} if crowd.turned else {}
    return {"count": len(crowd), **crowd.shown(index), **lying}
