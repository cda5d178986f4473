"""engines/fake.py: engines for load runs, which look like the real ones from outside."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve_app.engines.fake import Device, FakeDetector, FakeEngine, FakeMesh, FakeSwap
from serve_app.engines.protocol import Engine
from serve_app.vision.face import Faces, FaceSquare, Floats, Patch, Pixels, Portrait, SwapItem


def test_every_frame_has_one_face_in_its_middle() -> None:
    engine: Engine[Pixels, Pixels, Pixels, Faces] = FakeDetector()
    frame = np.zeros((640, 640, 3), np.uint8)
    engine.warm_up()
    faces = engine.post(frame, engine.run([engine.pre(frame)])[0])
    assert faces.boxes.tolist() == [[160, 160, 480, 480]]
    assert faces.largest() == 0
    left_eye, right_eye, nose, left_mouth, right_mouth = faces.keypoints[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < left_mouth[1] == right_mouth[1]


def test_a_swap_takes_the_sources_colour() -> None:
    mesh: Engine[FaceSquare, FaceSquare, FaceSquare, Floats] = FakeMesh()
    swap: Engine[SwapItem, SwapItem, SwapItem, Patch] = FakeSwap()
    squares = [
        FaceSquare(np.full((side, side, 3), colour, np.uint8), np.zeros((5, 2), np.float32)) for side, colour in ((40, 200), (60, 100))
    ]
    source, target = (Portrait(mesh.post(square, square), square.pixels) for square in squares)
    patch = swap.post(SwapItem(source, target), SwapItem(source, target))
    assert (patch.pixels == 150).all()
    assert patch.pixels.shape == (60, 60, 3)
    assert (patch.mask == 255).all()
    assert patch.mask.shape == (60, 60)


def test_a_swap_without_squares_is_an_error() -> None:
    nobody = Portrait(None, None)
    with pytest.raises(ValueError, match="squares"):
        FakeSwap().post(SwapItem(nobody, nobody), SwapItem(nobody, nobody))


def test_a_batch_takes_as_long_as_it_was_told() -> None:
    engine = FakeDetector(Device(0.02, 0.01), slots=3)
    start = time.perf_counter()
    assert len(engine.run([np.zeros((2, 2, 3), np.uint8)] * 3)) == 3
    assert 0.05 <= time.perf_counter() - start < 1
    assert engine.slots == 3
    assert engine.info()["model"] == "FakeDetector"


def test_batches_of_engines_that_share_a_device_never_overlap_and_use_no_core(tmp_path: Path) -> None:
    device, frame = Device(0.05, 0.01, tmp_path / "journal"), np.zeros((2, 2, 3), np.uint8)
    engines: list[FakeEngine[Any]] = [FakeDetector(device, slots=4), FakeMesh(device, slots=4)]
    for engine in engines:
        engine.warm_up()
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: engines[n % 2].run([frame] * (1 + n % 3)), range(8)))
    took = time.perf_counter() - began
    assert time.process_time() - cpu < took / 2
    (file,) = (tmp_path / "journal").iterdir()
    warmed, batches = file.read_text().splitlines()[:2], file.read_text().splitlines()[2:]
    assert [line.split()[2] for line in warmed] == ["0", "0"]
    times = sorted((float(begin), float(end), int(items)) for begin, end, items in map(str.split, batches))
    assert sorted(items for *_, items in times) == [1, 1, 1, 2, 2, 2, 3, 3]
    assert all(end <= begin for (_, end, _), (begin, _, _) in itertools.pairwise(times))
    assert all(end - begin >= 0.05 + 0.01 * items for begin, end, items in times)
