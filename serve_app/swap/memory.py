"""Sources that were looked at before: one source on many targets is found, cut out and described once.

What is kept is biometric data: in the memory of one process, for a limited time, and given only to the key that it came with.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from serve_app.metrics import SOURCE_LOOKUPS, Recorder, unrecorded
from serve_app.options import One
from serve_app.vision.crowd import Crowd
from serve_app.vision.face import Faces, Floats, Square
from serve_app.vision.image import Note


@dataclass(slots=True)
class Source:
    """One face to be given. name: of its picture, for messages. notes: what was done to it. features: None until it was asked for.
    remembered: whether all this comes from memory."""

    name: str
    crowd: Crowd
    index: int
    square: Square
    notes: tuple[Note, ...] = ()
    features: Floats | None = None
    remembered: bool = False


class Memory(Protocol):
    """What one task may know of pictures that came before."""

    def digest(self, data: bytes) -> bytes:
        """What a file is known by. CPU work, from any thread."""

    def recall(self, digest: bytes, face: One) -> Source | None: ...

    def keep(self, digest: bytes, face: One, source: Source) -> None: ...


class NoMemory:
    """Remembers nothing."""

    def digest(self, data: bytes) -> bytes:
        return b""

    def recall(self, digest: bytes, face: One) -> Source | None:
        return None

    def keep(self, digest: bytes, face: One, source: Source) -> None:
        return None


NO_MEMORY = NoMemory()


class _Key(NamedTuple):
    owner: str
    models: str
    digest: bytes
    face: One


@dataclass(frozen=True, slots=True)
class _Kept:
    source: Source
    until: float
    size: int


class Sources:
    """The memory of one process, for its event loop alone.

    seconds: how long a face is kept, from when it was described and however often it is used. most_bytes: of all that are kept; those
    that were not used for longest go first. record: told how often a face was asked for and there, or not.
    """

    def __init__(
        self, *, seconds: float, most_bytes: int, now: Callable[[], float] = time.monotonic, record: Recorder = unrecorded
    ) -> None:
        self._record = record
        self._seconds, self._most_bytes, self._now = seconds, most_bytes, now
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, owner: str, models: str) -> Memory:
        """For the tasks of one key. models: what describes faces here; of other models no description is of use."""
        return _Share(self, owner, models) if self._seconds and self._most_bytes else NO_MEMORY

    def recall(self, key: _Key) -> Source | None:
        kept = self._kept.get(key)
        if kept is None or kept.until <= self._now():
            self._record(SOURCE_LOOKUPS, outcome="miss")
            return None
        self._record(SOURCE_LOOKUPS, outcome="hit")
        self._kept.move_to_end(key)
        return replace(kept.source)

    def keep(self, key: _Key, source: Source) -> None:
        if key in self._kept:  # two tasks looked at the same time; a second look must not make it last longer
            return
        if (size := _size(source)) > self._most_bytes:
            return
        while self._bytes + size > self._most_bytes:
            self._drop(next(iter(self._kept)))
        self._kept[key] = _Kept(_own(source), self._now() + self._seconds, size)
        self._bytes += size
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        """By a timer: what is not asked for any more must not stay."""
        now = self._now()
        for key in [key for key, kept in self._kept.items() if kept.until <= now]:
            self._drop(key)
        self._timer = None
        if self._kept:
            pause = min(kept.until for kept in self._kept.values()) - now
            self._timer = asyncio.get_running_loop().call_later(pause, self._expire)

    def _drop(self, key: _Key) -> None:
        self._bytes -= self._kept.pop(key).size


class _Share:
    def __init__(self, sources: Sources, owner: str, models: str) -> None:
        self._sources, self._owner, self._models = sources, owner, models

    def digest(self, data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def recall(self, digest: bytes, face: One) -> Source | None:
        return self._sources.recall(_Key(self._owner, self._models, digest, face))

    def keep(self, digest: bytes, face: One, source: Source) -> None:
        self._sources.keep(_Key(self._owner, self._models, digest, face), source)


def _own(source: Source) -> Source:
    """With arrays of its own: those at hand may be windows into a whole picture, or into Ray's shared memory."""
    faces, square = source.crowd.faces, source.square
    return Source(
        source.name,
        replace(source.crowd, faces=Faces(np.array(faces.boxes), np.array(faces.scores), np.array(faces.keypoints))),
        source.index,
        Square(np.array(square.pixels), np.array(square.keypoints), np.array(square.matrix)),
        source.notes,
        None if source.features is None else np.array(source.features),
        remembered=True,
    )


def _size(source: Source) -> int:
    faces, square = source.crowd.faces, source.square
    described = 0 if source.features is None else source.features.nbytes
    arrays = (faces.boxes, faces.scores, faces.keypoints, square.pixels, square.keypoints, square.matrix)
    return sum((int(array.nbytes) for array in arrays), described)
