"""A source that was looked at before: what is spared, what comes out, for whom, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from serve_app.options import Options
from serve_app.swap import Sources, swap_faces
from serve_app.swap.memory import Memory, Source
from serve_app.swap.swap import Swapped
from serve_app.vision.crowd import Crowd
from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Frame, Square
from serve_app.vision.image import Note
from tests.pictures import ASTRONAUT, HANKS
from tests.recorded import Recorded
from tests.swap.test_swap import FRAMING, Direct

SOURCE, TARGET = HANKS.read_bytes(), ASTRONAUT.read_bytes()


class Counting(Direct):
    """Notes how many pictures and faces each call brought."""

    def __init__(self) -> None:
        self.detected: list[int] = []
        self.identified: list[int] = []

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        self.detected.append(len(pictures))
        return await super().detect(pictures)

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        self.identified.append(len(faces))
        return await super().identify(faces)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def swap(models: Direct, memory: Memory, source: bytes = SOURCE, **options: Any) -> Swapped:
    return await swap_faces(source, TARGET, models, FRAMING, memory=memory, options=Options.of(options))


def a_face(size: int = 10) -> Source:
    faces = Faces(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
    square = Square(np.zeros((size, size, 3), np.uint8), np.zeros((5, 2), np.float32), np.zeros((2, 3)))
    return Source("source", Crowd(faces), 0, square, (Note("first-frame", "only the first"),), np.zeros(512, np.float32))


async def test_a_source_is_looked_at_once_and_the_result_is_the_same() -> None:
    models, recorded = Counting(), Recorded()
    sources = Sources(seconds=60, most_bytes=10**7, record=recorded)
    first = await swap(models, sources.of("key", "models"))
    again = await swap(models, sources.of("key", "models"))
    assert (models.detected, models.identified) == ([2, 1], [2, 1])
    assert first.data == again.data
    source = again.faces["source"]
    assert isinstance(source, dict)
    assert source.pop("remembered") is True
    assert first.faces == again.faces
    assert recorded.counted == {("source_lookups", outcome): 1 for outcome in ("hit", "miss")}


async def test_nothing_is_remembered_of_other_keys_models_faces_and_files() -> None:
    recorded = Recorded()
    sources = Sources(seconds=60, most_bytes=10**7, record=recorded)
    await swap(Counting(), sources.of("key", "models"))
    for owner, models, source, options in (
        ("another", "models", SOURCE, {}),
        ("key", "others", SOURCE, {}),
        ("key", "models", SOURCE, {"sourceFace": 0}),
        ("key", "models", SOURCE + b"\0", {}),
    ):
        counting = Counting()
        await swap(counting, sources.of(owner, models), source, **options)
        assert counting.detected == [2]
    assert not recorded.counted["source_lookups", "hit"]


async def test_without_time_or_room_nothing_is_kept() -> None:
    for sources in (Sources(seconds=0, most_bytes=10**7), Sources(seconds=60, most_bytes=0)):
        for _ in range(2):
            models = Counting()
            await swap(models, sources.of("key", "models"))
            assert models.detected == [2]
        assert len(sources) == 0


async def test_a_further_source_is_remembered_as_well() -> None:
    sources = Sources(seconds=60, most_bytes=10**7)
    options = Options.of({"sources": [{"picture": 0, "face": "largest", "targets": [0]}], "faces": []})
    results = []
    for detected in ([2, 1], [2]):  # the picture of its own is given to nobody, so that nobody has described it
        models = Counting()
        memory = sources.of("key", "models")
        results.append(await swap_faces(SOURCE, TARGET, models, FRAMING, memory=memory, options=options, more=[SOURCE + b"\0"]))
        assert models.detected == detected
    assert results[0].data == results[1].data


async def test_it_is_forgotten_after_its_time_however_often_it_is_used() -> None:
    clock = Clock()
    sources = Sources(seconds=60, most_bytes=10**7, now=clock)
    memory = sources.of("key", "models")
    memory.keep(b"1", "largest", a_face())
    for clock.now in (30, 59.9):
        assert memory.recall(b"1", "largest") is not None
        memory.keep(b"1", "largest", a_face())  # two tasks looked at it at a time
    clock.now = 60
    assert memory.recall(b"1", "largest") is None


async def test_nothing_stays_in_memory_that_nobody_asks_for() -> None:
    sources = Sources(seconds=0.05, most_bytes=10**7)
    memory = sources.of("key", "models")
    for number in range(3):
        memory.keep(bytes([number]), "largest", a_face())
        await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        while len(sources):
            await asyncio.sleep(0.01)
    memory.keep(b"later", "largest", a_face())
    assert len(sources) == 1


async def test_what_was_not_used_for_longest_makes_room() -> None:
    size = 100 * 100 * 3
    sources = Sources(seconds=60, most_bytes=3 * size + 10_000)
    memory = sources.of("key", "models")
    for name in (b"1", b"2", b"3"):
        memory.keep(name, "largest", a_face(100))
    assert memory.recall(b"1", "largest") is not None
    memory.keep(b"4", "largest", a_face(100))
    assert memory.recall(b"2", "largest") is None
    assert all(memory.recall(name, "largest") is not None for name in (b"1", b"3", b"4"))
    memory.keep(b"5", "largest", a_face(1000))  # larger than all the room there is
    assert memory.recall(b"5", "largest") is None
    assert len(sources) == 3, "for which nobody had to go"


async def test_what_is_kept_holds_no_other_memory_and_says_what_was_done_to_the_picture() -> None:
    sources = Sources(seconds=60, most_bytes=10**7)
    memory, picture, source = sources.of("key", "models"), np.zeros((100, 100, 3), np.uint8), a_face()
    source.square = Square(picture[10:20, 10:20], source.square.keypoints, source.square.matrix)
    memory.keep(b"1", "largest", source)
    kept = memory.recall(b"1", "largest")
    assert kept is not None
    assert kept.square.pixels.base is None
    assert kept.notes == source.notes
    kept.name = "mine"
    assert memory.recall(b"1", "largest").name == "source"  # type: ignore[union-attr]
