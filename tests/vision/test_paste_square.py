"""Squares back in their picture, as the library puts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from insightface.model_zoo.inswapper import INSwapper
from insightface.utils.face_align import arcface_dst
from numpy.typing import NDArray

from serve_app.vision import paste_square
from serve_app.vision.arcface import arcface_matrix, arcface_square
from serve_app.vision.face import FaceError, Floats, Patch, Pixels
from serve_app.vision.paste_square import overlapping, paste_squares

pytestmark = pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")  # the library, with scikit-image 0.26

SIDE = 128
EMBEDDING = np.full(512, 512**-0.5, np.float32)


@dataclass
class LibraryFace:
    kps: Floats
    normed_embedding: Floats


class Session:
    """In place of the model: what it makes of a crop, both (128, 128, 3) uint8 BGR."""

    def __init__(self, swap: Callable[[Pixels], Pixels]) -> None:
        self.swap = swap

    def run(self, names: list[str], feeds: dict[str, NDArray[np.float32]]) -> list[Floats]:
        crop = np.rint(feeds["target"][0].transpose(1, 2, 0)[:, :, ::-1] * 255).astype(np.uint8)
        # a little above the level, because the library cuts off what is behind the point
        answer = (self.swap(crop)[:, :, ::-1] + np.float32(0.25)) / np.float32(255)
        return [answer.transpose(2, 0, 1)[None]]


class Library(INSwapper):  # type: ignore[misc]
    def __init__(self, swap: Callable[[Pixels], Pixels]) -> None:  # without a file
        self.session = Session(swap)
        self.emap, self.input_mean, self.input_std = np.eye(512, dtype=np.float32), 0.0, 255.0
        self.input_names, self.output_names, self.input_size = ["target", "source"], ["output"], (SIDE, SIDE)

    def swapped(self, picture: Pixels, points: Floats) -> Pixels:
        """Raises ValueError for a face outside the picture."""
        result: Pixels = self.get(picture, LibraryFace(points, EMBEDDING), LibraryFace(points, EMBEDDING))
        return result


def noise(rng: np.random.Generator, *shape: int) -> Pixels:
    return rng.integers(0, 256, shape, np.uint8)


def face(x: float, y: float, size: float, roll: float = 0.0) -> Floats:
    """Keypoints of a face about `size` pixels wide around (x, y), turned by `roll` degrees."""
    a = np.deg2rad(roll)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return np.asarray((arcface_dst - 56) * (size / 112) @ turn.T + (x, y), np.float32)


def random_face(rng: np.random.Generator, height: int, width: int) -> Floats:
    size = float(np.exp(rng.uniform(np.log(10), np.log(1.2 * height))))
    points = face(rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height, size, rng.uniform(-180, 180))
    return points + rng.normal(0, size * 0.02, (5, 2)).astype(np.float32)


def patch(pixels: Pixels) -> Patch:
    return Patch(pixels, np.full(pixels.shape[:2], 255, np.uint8))


def against_library(picture: Pixels, points: Floats, pixels: Pixels) -> NDArray[np.intp]:
    """How many samples differ from the library's by 0, 1, 2 ... levels."""
    ours = paste_squares(picture, [(patch(pixels), arcface_matrix(points, SIDE))])
    library = Library(lambda crop: pixels).swapped(picture, points)
    return np.bincount(cv2.absdiff(ours, library).ravel(), minlength=3)


SHAPES = [(480, 640), (720, 1280), (1080, 1920), (333, 1001), (1001, 333), (97, 211), (33, 47), (512, 512)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smooth", [False, True])
def test_pictures_are_the_librarys(shape: tuple[int, int], smooth: bool, record_property: Callable[[str, object], None]) -> None:
    rng = np.random.default_rng([*shape, smooth])
    picture, pixels = noise(rng, *shape, 3), noise(rng, SIDE, SIDE, 3)
    if smooth:
        picture, pixels = (np.asarray(cv2.GaussianBlur(image, (0, 0), 7), np.uint8) for image in (picture, pixels))
    counts = np.zeros(3, np.intp)
    cases = 0
    for _ in range(8 if shape == (1080, 1920) else 16):
        points = random_face(rng, *shape)
        try:
            found = against_library(picture, points, pixels)
        except ValueError:  # of the library, for a face outside
            unchanged = paste_squares(picture, [(patch(pixels), arcface_matrix(points, SIDE))])
            np.testing.assert_array_equal(unchanged, picture)
            continue
        cases += 1
        assert len(found) == 3, f"off by {len(found) - 1} levels"
        counts += found
    record_property("samples that differ", int(counts[1:].sum()))
    assert cases > 4
    # Two levels are allowed. None differs here; a wrong cut of rows or columns would show in 1 of 40,000 samples.
    assert counts[1:].sum() <= 1e-6 * counts.sum()


@pytest.mark.parametrize(("x", "y", "size"), [(1900, 1000, 300), (3000, 1700, 1200), (20, 2100, 150), (3839, 2159, 40)])
def test_a_4k_picture_is_the_librarys(x: int, y: int, size: int) -> None:
    rng = np.random.default_rng(x)
    counts = against_library(noise(rng, 2160, 3840, 3), face(x, y, size, 20), noise(rng, SIDE, SIDE, 3))
    assert len(counts) == 3
    assert counts[1:].sum() <= 1e-6 * counts.sum()


def test_a_larger_picture_is_within_two_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paste_square, "_WHOLE", 0)  # a small picture is cut as a large one would be
    rng = np.random.default_rng(3)
    picture, pixels = noise(rng, 600, 800, 3), noise(rng, SIDE, SIDE, 3)
    for _ in range(12):
        x, y, size, roll = rng.uniform((100, 100, 30, -180), (500, 500, 400, 180))
        points = face(x, y, size, roll)
        assert len(against_library(picture, points, pixels)) == 3


@pytest.mark.parametrize("size", [20, 150, 700])
@pytest.mark.parametrize("roll", [0, 30])
def test_a_face_cut_by_the_border_is_the_librarys(size: int, roll: int) -> None:
    rng = np.random.default_rng([size, roll])
    picture, pixels = noise(rng, 300, 400, 3), noise(rng, SIDE, SIDE, 3)
    for x, y in ((0, 150), (399, 150), (200, 0), (200, 299), (0, 0), (399, 299), (-0.45 * size, 150), (200, 300 + 0.45 * size)):
        np.testing.assert_array_equal(against_library(picture, face(x, y, size, roll), pixels)[1:], 0)


def test_a_face_outside_leaves_the_picture_as_it_is() -> None:
    rng = np.random.default_rng(4)
    picture, pixels = noise(rng, 120, 160, 3), noise(rng, SIDE, SIDE, 3)
    for x, y in ((-200, 60), (400, 60), (80, -200), (80, 400), (-130, -130)):
        with pytest.raises(ValueError, match="zero-size"):
            Library(lambda crop: pixels).swapped(picture, face(x, y, 100))
        result = paste_squares(picture, [(patch(pixels), arcface_matrix(face(x, y, 100), SIDE))])
        np.testing.assert_array_equal(result, picture)
        assert not np.shares_memory(result, picture)


def test_only_the_square_changes_and_nothing_given_does() -> None:
    picture, pixels = np.full((300, 300, 3), 50, np.uint8), np.full((SIDE, SIDE, 3), 250, np.uint8)
    matrix = arcface_matrix(face(150, 150, 100), SIDE)
    given: tuple[NDArray[Any], ...] = (picture, pixels, matrix)
    for array in given:
        array.setflags(write=False)
    before = [array.copy() for array in given]
    result = paste_squares(picture, [(patch(pixels), matrix)])
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    changed = (result != 50).any(2)
    inside = np.zeros((300, 300), bool)
    inside[99:215, 91:208] = True  # 128 pixels of the square are 114 of the picture
    assert not changed[~inside].any()
    assert (result[120:180, 120:180] >= 249).all()
    assert paste_squares(picture, []).base is None


def test_a_square_of_another_size_is_taken() -> None:
    matrix = arcface_matrix(face(150, 150, 100), 256)
    result = paste_squares(np.zeros((300, 300, 3), np.uint8), [(patch(np.full((256, 256, 3), 200, np.uint8)), matrix)])
    assert (result[120:180, 120:180] >= 199).all()
    assert not result[:90].any()


def negative(crop: Pixels) -> Pixels:
    return 255 - crop


@pytest.mark.parametrize("seed", range(12))
def test_a_crowd_swapped_list_by_list_is_the_librarys(seed: int) -> None:
    """The swap depends on the crop: cutting a face before its neighbour is pasted would show."""
    rng = np.random.default_rng(seed)
    shape = (360, 480)
    picture = noise(rng, *shape, 3)
    crowd = [face(x, y, size, roll) for x, y, size, roll in rng.uniform((-20, -20, 20, -180), (480, 360, 120, 180), (10, 4))]
    expected, seen = picture, []
    for points in crowd:
        try:
            expected = Library(negative).swapped(expected, points)
            seen.append(points)
        except ValueError:
            with pytest.raises(FaceError):
                arcface_square(picture, points, SIDE)

    lists = overlapping([arcface_matrix(points, SIDE) for points in seen], SIDE, shape)
    assert sorted(index for together in lists for index in together) == list(range(len(seen)))
    assert 1 < len(lists) < len(seen)
    result = picture
    for together in lists:
        squares = [arcface_square(result, seen[index], SIDE) for index in together]
        result = paste_squares(result, [(patch(negative(square.pixels)), square.matrix) for square in squares])
    np.testing.assert_array_equal(result, expected)


def turns(*faces: Floats, shape: tuple[int, int] = (1000, 1000)) -> list[list[int]]:
    return overlapping([arcface_matrix(points, SIDE) for points in faces], SIDE, shape)


def test_faces_wait_only_for_those_that_they_touch() -> None:
    left, middle, right, away = face(200, 200, 100), face(290, 200, 100), face(380, 200, 100), face(700, 700, 100)
    assert turns() == []
    assert turns(left, right, away) == [[0, 1, 2]]
    assert turns(left, middle, right) == [[0], [1], [2]]
    assert turns(left, right, middle) == [[0, 1], [2]]
    assert turns(left, middle, away) == [[0, 2], [1]]
    assert turns(left, left, left) == [[0], [1], [2]]


def test_the_gap_that_keeps_faces_apart_is_a_few_pixels() -> None:
    # Squares of 100 pixel faces are 114 wide.
    assert turns(face(200, 200, 100), face(312, 200, 100)) == [[0], [1]]
    assert turns(face(200, 200, 100), face(326, 200, 100)) == [[0, 1]]
    corner = 114 / np.sqrt(2) + 10
    assert turns(face(200, 200, 100, 45), face(200 + corner, 200 + corner, 100, 45)) == [[0, 1]]


def test_faces_that_share_only_what_lies_outside_the_picture_do_not_wait() -> None:
    # Both reach above the picture and lean against each other there.
    assert turns(face(100, -40, 100), face(150, -50, 100), shape=(300, 300)) == [[0], [1]]
    assert turns(face(100, -40, 100), face(150, -120, 100), shape=(300, 300)) == [[0, 1]]
