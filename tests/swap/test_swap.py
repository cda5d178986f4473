"""One swap without Ray or HTTP: the engines called in this process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve_app.engines.fake import FACE, FakeDetector, FakeMesh, FakeSwap
from serve_app.engines.framed import Framed
from serve_app.options import Options
from serve_app.swap import FaceLimits, Stages, SwapError, swap_faces
from serve_app.vision.crowd import NOBODY
from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Frame, Patch, SwapItem
from serve_app.vision.framing import mesh_framing
from serve_app.vision.image import decode
from tests.pictures import ASTRONAUT, HANKS, jpeg, png, read

FRAMING = mesh_framing(640, 640)


class Direct:
    """`Models` without batching or transport."""

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        return [Framed(FakeDetector()).post(picture, None) for picture in pictures]

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        return [FakeMesh().post(face, face) for face in faces]

    async def swap(self, items: Sequence[SwapItem]) -> list[Patch | FaceError]:
        return [FakeSwap().post(item, item) for item in items]


class Nobody(Direct):
    """Finds no face in the picture at `place`: 0 source, 1 target; nor in any that it is asked for afterwards."""

    def __init__(self, place: int) -> None:
        self.place = place

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        faces = await super().detect(pictures)
        if len(pictures) > 2:
            return [NOBODY for _ in pictures]
        faces[self.place] = NOBODY
        return faces


class Unclear(Direct):
    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        source, _ = await super().identify(faces)
        return [source, FaceError("The face is covered.")]


SOURCE, TARGET = HANKS.read_bytes(), ASTRONAUT.read_bytes()


async def test_the_result_is_the_target_with_a_new_face_and_every_stage_was_timed() -> None:
    stages, found = Stages(), asyncio.Event()

    async def tell() -> None:
        found.set()

    swapped = await swap_faces(SOURCE, TARGET, Direct(), FRAMING, found=tell, stages=stages)
    assert found.is_set()
    assert swapped.format == "PNG"
    result, target = decode(swapped.data).bgr, read(ASTRONAUT)
    assert result.shape == target.shape
    assert (result != target).any()
    assert (result[:20] == target[:20]).all()
    assert list(stages.ms) == ["decode", "detect", "cut", "identify", "swap", "paste", "encode"]


@pytest.mark.parametrize(("place", "name"), [(0, "source picture"), (1, "target picture")])
async def test_no_face_says_in_which_picture_and_is_not_under_way(place: int, name: str) -> None:
    async def tell() -> None:
        raise AssertionError("no work was found")

    with pytest.raises(SwapError, match=name):
        await swap_faces(SOURCE, TARGET, Nobody(place), FRAMING, found=tell)


async def test_a_face_that_a_model_refuses_is_said_to_be_in_its_picture() -> None:
    with pytest.raises(SwapError, match=r"target picture.*covered"):
        await swap_faces(SOURCE, TARGET, Unclear(), FRAMING)


async def test_a_cut_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(SwapError, match="source picture"):
        await swap_faces(jpeg(read(HANKS))[:500], png(read(ASTRONAUT)), Direct(), FRAMING)


async def test_a_lossless_webp_stays_lossless() -> None:

    file = io.BytesIO()
    Image.fromarray(read(ASTRONAUT)[:, :, ::-1].copy()).save(file, "WEBP", lossless=True)
    swapped = await swap_faces(SOURCE, file.getvalue(), Direct(), FRAMING)
    assert swapped.format == "WEBP"
    assert (decode(swapped.data).bgr[:20] == read(ASTRONAUT)[:20]).all()


class Several(Direct):
    """Finds four faces in the target. Of the one at `unclear`, counted over all calls, nothing can be said."""

    def __init__(self, unclear: int | None = None) -> None:
        self.unclear = unclear
        self.calls: list[int] = []

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        source, _ = await super().detect(pictures)
        assert isinstance(source, Faces)
        corners = np.array([[60, 60], [300, 60], [60, 300], [300, 300]], np.float32)
        boxes = np.concatenate([corners, corners + 120], axis=1)
        points = corners[:, None] + FACE * np.float32(120)
        return [source, Faces(boxes, np.array([0.6, 0.9, 0.7, 0.8], np.float32), points)]

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        start = sum(self.calls)
        self.calls.append(len(faces))
        found = await super().identify(faces)
        return [FaceError("It is covered.") if start + at == self.unclear else one for at, one in enumerate(found)]


async def test_a_crowd_comes_out_the_same_in_calls_of_any_size() -> None:
    results = []
    for at_once in (1, 3, 16):
        models = Several()
        swapped = await swap_faces(
            SOURCE, TARGET, models, FRAMING, options=Options.of({"faces": "all"}), limits=FaceLimits(at_once=at_once)
        )
        results.append(swapped.data)
        assert max(models.calls) <= at_once + 1, "and the source, once"
        assert sum(models.calls) == 5
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("faces", "left"), [("all", "It is covered."), ([0, 1, 3], None)])
async def test_a_face_that_cannot_be_swapped_is_left_alone_unless_it_was_named(faces: object, left: str | None) -> None:
    asked = swap_faces(SOURCE, TARGET, Several(unclear=2), FRAMING, options=Options.of({"faces": faces}))
    if left is None:
        with pytest.raises(SwapError, match=r"target picture.*covered"):
            await asked
        return
    target = (await asked).faces["target"]
    assert isinstance(target, dict)
    assert [face["swapped"] for face in target["faces"]] == [True, False, True, True]
    assert target["faces"][1]["reason"] == left


async def test_the_operator_s_smallest_face() -> None:
    with pytest.raises(SwapError, match="0: too small: 120 pixels, and 130 are asked for"):
        await swap_faces(SOURCE, TARGET, Several(), FRAMING, limits=FaceLimits(min_face=130))
