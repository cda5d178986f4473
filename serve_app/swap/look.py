"""Opens pictures, finds their faces, and cuts out and describes those that are to be given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from serve_app.options import Options
from serve_app.stages import Stages
from serve_app.swap.choice import Giver, pick
from serve_app.swap.errors import REFERENCE, SOURCE, TARGET, SwapError, named, usable
from serve_app.swap.memory import NO_MEMORY, Memory, Source
from serve_app.swap.models import InThread, Models
from serve_app.vision.crowd import Crowd, gather, turned, turned_back
from serve_app.vision.face import FaceError, FaceSquare, Floats, Frame
from serve_app.vision.framing import Framing
from serve_app.vision.image import ImageError, Note, Picture, decode

_MEMBERS = {SOURCE: "source", TARGET: "target", REFERENCE: "reference"}


@dataclass(frozen=True, slots=True)
class Opened:
    name: str
    picture: Picture
    frames: tuple[Frame, ...]


class Look:
    """Opens pictures and finds faces in them."""

    def __init__(
        self, models: Models, framing: Framing, in_thread: InThread, stages: Stages, at_once: int, memory: Memory = NO_MEMORY
    ) -> None:
        self.models, self.framing, self.in_thread, self.stages = models, framing, in_thread, stages
        self.notes: list[dict[str, str]] = []
        self._at_once = at_once
        self._memory = memory
        self._digests: dict[int | None, bytes] = {}

    def portions(self, indices: Sequence[int]) -> Iterator[Sequence[int]]:
        """So that a crowd neither fills the models' queues nor holds back other tasks."""
        return (indices[at : at + self._at_once] for at in range(0, len(indices), self._at_once))

    async def open(self, *files: tuple[str, bytes]) -> list[Opened]:
        with self.stages.measure("decode"):
            opened = list(await asyncio.gather(*(self.in_thread(_open, name, data, self.framing) for name, data in files)))
        for one in opened:
            self._note(one.name, one.picture.notes)
        return opened

    def _note(self, name: str, notes: Sequence[Note]) -> None:
        self.notes += told(_MEMBERS.get(name) or name.removeprefix(f"{SOURCE} "), notes)

    async def find(self, *opened: Opened) -> list[Crowd]:
        """Where nothing looks like a face, the picture may lie on its side."""
        with self.stages.measure("detect"):
            outcomes = await self.models.detect([one.frames for one in opened])
            crowds = [gather(usable(one.name, outcome)) for one, outcome in zip(opened, outcomes, strict=True)]
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

    async def recall(self, number: int | None, name: str, data: bytes, options: Options) -> dict[Giver, Source]:
        """What is remembered of the faces that the options ask for of a source picture; nothing unless it is all of them."""
        self._digests[number] = digest = await self.in_thread(self._memory.digest, data)
        found: dict[Giver, Source] = {}
        for giver in _wanted(number, options):
            if (source := self._memory.recall(digest, giver.face)) is None:
                return {}
            source.name = name
            found[giver] = source
        for source in list(found.values())[:1]:
            self._note(name, source.notes)
        return found

    async def sources(self, number: int, name: str, data: bytes, options: Options) -> dict[Giver, Source]:
        """The faces that the options ask for of a source picture, remembered or looked at."""
        if found := await self.recall(number, name, data, options):
            return found
        (opened,) = await self.open((name, data))
        (crowd,) = await self.find(opened)
        return await self.cut(number, opened, crowd, options)

    def remember(self, sources: Mapping[Giver, Source]) -> None:
        """Those that were described."""
        for giver, source in sources.items():
            if source.features is not None:
                self._memory.keep(self._digests[giver.picture], giver.face, source)

    async def cut(self, number: int | None, opened: Opened, crowd: Crowd, options: Options) -> dict[Giver, Source]:
        """The faces of a source picture that the options ask for."""
        with self.stages.measure("cut"), named(opened.name):
            found = {}
            for giver in _wanted(number, options):
                index = pick(crowd, giver.face)
                square = await self.in_thread(self.framing.source, opened.picture.bgr, crowd.faces.keypoints[index])
                found[giver] = Source(opened.name, crowd, index, square, opened.picture.notes)
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
        with named(REFERENCE):
            wanted = await self.features(opened, there, [pick(there, "largest")])
            if not wanted:
                raise FaceError("the face cannot be described; use a picture that shows it more clearly")
        with named(TARGET):
            pick(crowd, "largest")
            known = await self.features(onto, crowd, crowd.by_size()[:most])
            if not known:
                raise FaceError(f"no face can be compared with the reference; {crowd.listed()}")
        (person,) = wanted.values()
        return max(known, key=lambda index: (_likeness(known[index], person), -index))


def _wanted(number: int | None, options: Options) -> list[Giver]:
    """The faces of a source picture that the options ask for, each once."""
    wanted = [Giver(one.picture, one.face) for one in options.sources if one.picture == number]
    if number is None and options.main:
        wanted.append(Giver(None, options.source_face))
    return list(dict.fromkeys(wanted))


def told(name: str, notes: Sequence[Note]) -> list[dict[str, str]]:
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
