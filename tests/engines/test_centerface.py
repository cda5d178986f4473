"""engines/centerface.py: the faces of a picture, where they are, whoever else is looked for at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from serve_app.engines.centerface import CenterFaceEngine, decode, suppress
from serve_app.engines.choice import Precision
from serve_app.engines.protocol import Engine
from serve_app.engines.session import Array
from serve_app.engines.weights import CENTERFACE
from serve_app.vision.face import FaceError, Faces, Floats, Pixels
from tests.engines.nets import FRAME, builtin, detector, found, framed
from tests.pictures import ASTRONAUT, HANKS, SIX_PEOPLE, read

# Around the heads of the six people, as one sees them: x1 y1 x2 y2.
HEADS = [
    (20, 200, 200, 420),
    (240, 100, 410, 290),
    (430, 190, 600, 440),
    (710, 290, 880, 510),
    (880, 30, 1060, 220),
    (1080, 200, 1270, 420),
]


def test_each_of_six_people_is_found_where_they_are() -> None:
    faces = found(read(SIX_PEOPLE))
    assert len(faces) == 6
    for x1, y1, x2, y2 in HEADS:
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        inside = (centres > (x1, y1)).all(1) & (centres < (x2, y2)).all(1)
        assert inside.sum() == 1, f"one face in {x1, y1, x2, y2}"
        (face,) = np.flatnonzero(inside)
        width, height = faces.boxes[face, 2:] - faces.boxes[face, :2]
        assert 80 < width < height < 160


@pytest.mark.parametrize(("path", "middle"), [(ASTRONAUT, (225, 120)), (HANKS, (45, 64))])
def test_one_person_is_found_once(path: Path, middle: tuple[int, int]) -> None:
    faces = found(read(path))
    assert len(faces) == 1
    assert np.linalg.norm((faces.boxes[0, :2] + faces.boxes[0, 2:]) / 2 - middle) < 12


def test_keypoints_are_eyes_nose_and_mouth_corners_from_left_to_right() -> None:
    picture = read(SIX_PEOPLE)
    for faces in (found(picture), found(read(ASTRONAUT)), found(np.ascontiguousarray(picture[:, ::-1]))):
        for box, (left_eye, right_eye, nose, left_mouth, right_mouth) in zip(faces.boxes, faces.keypoints, strict=True):
            width, height = box[2:] - box[:2]
            assert left_eye[0] + width / 10 < right_eye[0]
            assert left_mouth[0] + width / 10 < right_mouth[0]
            assert max(left_eye[1], right_eye[1]) < nose[1] < max(left_mouth[1], right_mouth[1])
            assert (left_mouth[1] + right_mouth[1] - left_eye[1] - right_eye[1]) / 2 > height / 4


def test_best_face_first() -> None:
    scores = found(read(SIX_PEOPLE)).scores
    assert (np.diff(scores) <= 0).all()
    assert 0.5 < scores[-1] <= scores[0] < 1


@pytest.mark.parametrize("frame", [np.zeros((FRAME, FRAME, 3), np.uint8), np.full((FRAME, FRAME, 3), 255, np.uint8)])
def test_an_empty_frame_has_no_faces(frame: Pixels) -> None:
    engine = detector()
    faces = engine.post(frame, engine.run([frame])[0])
    assert len(faces) == 0
    assert (faces.boxes.shape, faces.keypoints.shape) == ((0, 4), (0, 5, 2))


@pytest.mark.parametrize(("shape", "dtype"), [((320, 640, 3), np.uint8), ((FRAME, FRAME, 3), np.float32), ((FRAME, FRAME), np.uint8)])
def test_a_frame_of_another_shape_is_refused(shape: tuple[int, ...], dtype: Any) -> None:
    with pytest.raises(ValueError, match="square"):
        detector().pre(np.zeros(shape, dtype))


def frames() -> list[Pixels]:
    people = read(SIX_PEOPLE)
    pictures = [people, read(ASTRONAUT), read(HANKS), people[:, :640], people[:, 640:], np.roll(people, 40, 1)]
    return [framed(np.ascontiguousarray(picture))[0] for picture in pictures]


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_a_result_does_not_depend_on_what_ran_with_it(precision: Precision) -> None:
    engine, looked_at = detector(precision, slots=2), frames()
    alone = [engine.run([frame])[0] for frame in looked_at]
    assert_same(engine.run(looked_at), alone)
    order = [4, 2, 5, 0, 3, 1]
    assert_same(engine.run([looked_at[i] for i in order]), [alone[i] for i in order])
    with ThreadPoolExecutor(4) as threads:
        assert_same([raw for part in threads.map(lambda frame: engine.run([frame]), looked_at * 2) for raw in part], alone * 2)


def assert_same(raws: Sequence[Sequence[Array]], expected: Sequence[Sequence[Array]]) -> None:
    for raw, other in zip(raws, expected, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(raw, other, strict=True))


def test_larger_buckets_are_padded_and_find_the_same_faces() -> None:
    engine = CenterFaceEngine(builtin() / CENTERFACE, precision="exact", buckets=(1, 2, 4))
    alone, looked_at = detector("exact"), frames()[:3]
    for frame, one, three in zip(looked_at, (alone.run([frame])[0] for frame in looked_at), engine.run(looked_at), strict=True):
        a, b = alone.post(frame, one), engine.post(frame, three)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=0.01)
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.01)


def test_fast_finds_what_exact_finds() -> None:
    # Measured with bf16: boxes within 2.5 %, keypoints within 2 % of the face's width on faces that fill less than a third of a frame.
    for path in (SIX_PEOPLE, ASTRONAUT):
        fast, exact = found(read(path)), found(read(path), "exact")
        assert len(fast) == len(exact)
        for box, score, keypoints in zip(exact.boxes, exact.scores, exact.keypoints, strict=True):
            nearest = np.abs(fast.boxes - box).sum(1).argmin()
            width = box[2] - box[0]
            assert np.abs(fast.boxes[nearest] - box).max() < 0.05 * width
            assert np.abs(fast.keypoints[nearest] - keypoints).max() < 0.05 * width
            assert abs(fast.scores[nearest] - score) < 0.02


def test_the_engine_says_what_it_runs_on() -> None:
    engine: Engine[Pixels, Pixels, list[Array], Faces] = detector("exact")
    engine.warm_up()
    info = engine.info()
    assert info["model"] == "CenterFace"
    assert info["runtime"].startswith("onnxruntime ")
    assert (info["precision"], info["threads"], info["slots"]) == ("f32", "2", "1")


def test_another_models_file_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not the file of CenterFace"):
        CenterFaceEngine(builtin() / "facemesh.onnx", side=256, precision="exact")


def maps(*cells: tuple[int, int, float]) -> tuple[Floats, Floats, Floats, Floats]:
    """Outputs for a frame of 64 pixels with a face of 16 x 24 pixels at each cell (y, x, score)."""
    score, size = np.zeros((1, 16, 16), np.float32), np.zeros((2, 16, 16), np.float32)
    offset, points = np.zeros((2, 16, 16), np.float32), np.zeros((10, 16, 16), np.float32)
    for y, x, value in cells:
        score[0, y, x] = value
        size[:, y, x] = np.log([24 / 4, 16 / 4])
        offset[:, y, x] = 0.25, -0.25
        points[:, y, x] = [0.25, 0.25, 0.25, 0.75, 0.5, 0.5, 0.75, 0.25, 0.75, 0.75]
    return score, size, offset, points


def test_decode_turns_cells_into_pixels() -> None:
    faces = decode(*maps((7, 9, 0.8)), min_score=0.5)
    x, y = (9 + 0.5 - 0.25) * 4, (7 + 0.5 + 0.25) * 4
    np.testing.assert_allclose(faces.boxes, [[x - 8, y - 12, x + 8, y + 12]], rtol=1e-6)
    np.testing.assert_allclose(faces.keypoints[0], [[x - 4, y - 6], [x + 4, y - 6], [x, y], [x - 4, y + 6], [x + 4, y + 6]], rtol=1e-6)


def test_equal_scores_come_in_reading_order() -> None:
    faces = decode(*maps((9, 2, 0.75), (3, 12, 0.75), (3, 4, 0.75), (12, 12, 0.875)), min_score=0.5)
    centres = ((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 / 4).astype(int)
    assert centres.tolist() == [[12, 12], [4, 3], [12, 3], [2, 9]]


def test_faces_below_the_score_are_left_out() -> None:
    assert len(decode(*maps((3, 3, 0.5), (9, 9, 0.51)), min_score=0.5)) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_an_answer_that_is_not_finite_fails_that_picture(value: float, index: int) -> None:
    outputs = maps((7, 9, 0.8))
    outputs[index][0, 7, 9] = value
    with pytest.raises(FaceError, match="could not make sense"):
        decode(*outputs, min_score=0.5)


def test_an_overflowing_size_fails_that_picture() -> None:
    outputs = maps((7, 9, 0.8))
    outputs[1][0, 7, 9] = 1000
    with pytest.raises(FaceError, match="could not make sense"):
        decode(*outputs, min_score=0.5)


def test_of_two_faces_on_one_spot_the_better_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 0, 30, 10], [0, 5, 10, 15], [20.5, 0, 30.5, 10]], np.float32)
    # shared shares: 0-1 0.68, 0-3 1/3, 1-3 0.375, 2-4 0.9
    assert suppress(boxes, 0.3).tolist() == [0, 2]
    assert suppress(boxes, 0.35).tolist() == [0, 2, 3]
    assert suppress(boxes, 0.95).tolist() == [0, 1, 2, 3, 4]
    assert suppress(boxes[:0], 0.3).tolist() == []


def test_a_face_partly_out_of_the_picture_is_found() -> None:
    picture = read(ASTRONAUT)[:300, 225:].copy()
    faces = found(np.asarray(cv2.copyMakeBorder(picture, 0, 0, 0, 100, cv2.BORDER_REPLICATE), np.uint8))
    assert len(faces) == 1
