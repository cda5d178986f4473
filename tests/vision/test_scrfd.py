"""SCRFD's frames and faces, equal to the library's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from insightface.model_zoo.scrfd import SCRFD
from numpy.typing import NDArray

from serve_app.vision.face import FaceError, Faces, Floats, Pixels
from serve_app.vision.scrfd import STRIDES, Level, anchors, decode, library_letterbox, merge


class Tensor:
    """What ONNX Runtime says about an input or an output."""

    def __init__(self, name: str, shape: list[int | str]) -> None:
        self.name, self.shape = name, shape


class Session:
    """In place of the model: keeps what it is shown, answers with the outputs given for frames of that side."""

    def __init__(self, levels: dict[int, list[Level]], *, batched: bool = False) -> None:
        self.levels, self.batched = levels, batched
        self.seen: dict[int, NDArray[np.float32]] = {}

    def get_inputs(self) -> list[Tensor]:
        return [Tensor("input.1", [1, 3, "?", "?"])]

    def get_outputs(self) -> list[Tensor]:
        return [Tensor(str(i), [1, 12800, 1] if self.batched else [12800, 1]) for i in range(9)]

    def run(self, names: list[str], feeds: dict[str, NDArray[np.float32]]) -> list[Floats]:
        blob = feeds["input.1"]
        self.seen[blob.shape[2]] = blob
        outputs = [level[kind] for kind in range(3) for level in self.levels[blob.shape[2]]]
        return [output[None] for output in outputs] if self.batched else outputs


def random_levels(rng: np.random.Generator, side: int, share: float) -> list[Level]:
    """Outputs of which about `share` of the rows are candidates, many with the same score, some with boxes turned inside out."""
    levels = []
    for stride in STRIDES:
        n = 2 * (side // stride) ** 2
        scores = rng.integers(0, 50, (n, 1)).astype(np.float32) / np.float32(100)
        hits = rng.random(n) < share
        scores[hits] = 0.5 + rng.integers(0, 20, (int(hits.sum()), 1)) / np.float32(40)
        levels.append((scores, rng.normal(3, 2, (n, 4)).astype(np.float32), rng.normal(0, 3, (n, 10)).astype(np.float32)))
    return levels


def quiet(side: int) -> list[Level]:
    """Outputs without a face."""
    return [
        (np.zeros((n, 1), np.float32), np.ones((n, 4), np.float32), np.ones((n, 10), np.float32)) for n in map(len, anchors(side, side))
    ]


def noise(rng: np.random.Generator, height: int, width: int) -> Pixels:
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def assert_same(ours: Faces, boxes_and_scores: Floats, points: Floats) -> None:
    theirs = (boxes_and_scores[:, :4], boxes_and_scores[:, 4], points)
    for mine, library in zip((ours.boxes, ours.scores, ours.keypoints), theirs, strict=True):
        assert mine.dtype == library.dtype == np.float32
        np.testing.assert_array_equal(mine, library)


SHAPES = [
    (480, 640),
    (640, 480),
    (333, 1001),
    (1001, 333),
    (640, 640),
    (97, 64),
    (17, 1000),
    (1000, 17),
    (1080, 1920),
    (2161, 3839),
    (128, 127),
]


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("sides", [(640,), (128, 640)], ids=["640", "128 and 640"])
@pytest.mark.parametrize("batched", [False, True], ids=["legacy export", "batched export"])
def test_frames_faces_and_their_order_are_the_librarys(height: int, width: int, sides: tuple[int, ...], batched: bool) -> None:
    rng = np.random.default_rng([height, width, len(sides), batched])
    picture = noise(rng, height, width)
    levels = {side: random_levels(rng, side, 300 / side**2 * 8) for side in sides}
    session = Session(levels, batched=batched)
    with np.errstate(all="ignore"):
        boxes_and_scores, points = SCRFD(session=session).detect(picture, [(side, side) for side in sides])

    frames = {side: library_letterbox(picture, side) for side in sides}
    for side, frame in frames.items():
        mean = (127.5, 127.5, 127.5)
        np.testing.assert_array_equal(session.seen[side], cv2.dnn.blobFromImage(frame.square(), 1 / 128, (side, side), mean, swapRB=True))
    faces = merge([decode(levels[side], (side, side), frame.scale) for side, frame in frames.items()])
    assert len(faces) > 20
    assert_same(faces, boxes_and_scores, points)


def test_scores_and_overlap_at_the_limits_count_as_in_the_library() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):  # boxes on a grid of four pixels share exactly 0.4 of their union again and again
        levels = quiet(64)
        rows = rng.choice(len(levels[0][0]), 40, replace=False)
        levels[0][0][rows, 0] = rng.choice(np.array([0.25, 0.5, 0.75], np.float32), 40)
        levels[0][1][:] = rng.integers(0, 5, levels[0][1].shape) / np.float32(2)
        min_score, overlap = 0.5, float(rng.choice([0.0, 0.25, 0.4, 1.0]))
        library = SCRFD(session=Session({64: levels}))
        library.nms_thresh = overlap
        assert_same(merge([decode(levels, (64, 64), 1.0, min_score)], overlap), *library.detect(np.zeros((64, 64, 3), np.uint8), (64, 64)))


def test_a_picture_without_faces_gives_no_faces() -> None:
    library = SCRFD(session=Session({128: quiet(128)})).detect(np.zeros((50, 60, 3), np.uint8), (128, 128))
    assert_same(merge([decode(quiet(128), (128, 128), 0.5)]), *library)
    assert_same(merge([]), *library)


@pytest.mark.parametrize(("height", "width"), [(1, 1000), (3, 2000), (1000, 1), (2000, 3)])
def test_a_picture_on_which_the_library_fails_is_one_line_of_the_frame(height: int, width: int) -> None:
    picture = np.full((height, width, 3), 200, np.uint8)
    with pytest.raises(cv2.error):
        SCRFD(session=Session({640: quiet(640)})).detect(picture, (640, 640))
    frame = library_letterbox(picture, 640)
    assert frame.scale == 640 / max(height, width)
    filled = (frame.square() == 200).all(2)
    assert filled.sum() == 640
    assert (filled[0] if width > height else filled[:, 0]).all()


def test_rows_of_outputs_go_by_row_column_and_anchor() -> None:
    for stride, cells in zip(STRIDES, anchors(64, 64), strict=True):
        expected = [(x, y) for y in range(0, 64, stride) for x in range(0, 64, stride) for _ in range(2)]
        np.testing.assert_array_equal(cells, expected)
        with pytest.raises(ValueError, match="read-only"):
            cells[0] = 1


@pytest.mark.parametrize("level", range(3))
@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_output_that_is_not_finite_is_refused(level: int, kind: int, value: float) -> None:
    levels = quiet(64)
    levels[level][kind][-1, -1] = value
    with pytest.raises(FaceError, match="could not make sense"):
        decode(levels, (64, 64), 1.0)


def test_outputs_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="stride 8 of 96 x 96 pixels"):
        decode(quiet(64), (96, 96), 1.0)
    with pytest.raises(ValueError, match="argument 3 is shorter"):
        decode(quiet(64)[:2], (64, 64), 1.0)


def test_outputs_in_half_precision_become_faces_in_single() -> None:
    levels = random_levels(np.random.default_rng(9), 128, 0.05)
    halves: list[Level] = [tuple(array.astype(np.float16) for array in level) for level in levels]  # type: ignore[misc]
    widened: list[Level] = [tuple(array.astype(np.float32) for array in level) for level in halves]  # type: ignore[misc]
    expected = decode(widened, (128, 128), 0.3)
    library_like = np.concatenate([expected.boxes, expected.scores[:, None]], 1)
    assert_same(decode(halves, (128, 128), 0.3), library_like, expected.keypoints)


def test_candidates_are_not_changed() -> None:
    rng = np.random.default_rng(8)
    levels = random_levels(rng, 128, 0.05)
    for array in (array for level in levels for array in level):
        array.setflags(write=False)
    candidates = decode(levels, (128, 128), 0.3)
    for array in (candidates.boxes, candidates.scores, candidates.keypoints):
        array.setflags(write=False)
    assert 0 < len(merge([candidates])) < len(candidates)


def test_the_library_writes_nothing_at_home(tmp_path: Path) -> None:
    modules = "insightface.model_zoo.scrfd, insightface.model_zoo.inswapper, insightface.model_zoo.arcface_onnx, insightface.app"
    code = f"import serve_app, {modules}"
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, check=True, timeout=120)
    assert not list(tmp_path.iterdir())
