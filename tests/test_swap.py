"""One swap without Ray or HTTP: the engines called in this process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve_app.engines.fake import FakeDetector, FakeMesh, FakeSwap
from serve_app.engines.framed import Framed
from serve_app.swap import Stages, SwapError, swap_faces
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
    """Finds no face in the picture at `place`: 0 source, 1 target."""

    def __init__(self, place: int) -> None:
        self.place = place

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        faces = await super().detect(pictures)
        faces[self.place] = Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
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
