"""The aligned crop, equal to the library's."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from insightface.utils import face_align
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform

from serve_app.vision.arcface import TEMPLATE, arcface_matrix, arcface_square, meets, quadrangle, rectangle, template, umeyama
from serve_app.vision.face import FaceError, Floats, Matrix, Pixels
from serve_app.vision.geometry import similarity

pytestmark = pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")  # the library, with scikit-image 0.26

# A head of unit width: x to its left, y down, z away from the viewer; in the order of `Faces`.
HEAD = np.array([[-0.31, -0.3, -0.35], [0.31, -0.3, -0.35], [0, 0.05, -0.62], [-0.25, 0.4, -0.4], [0.25, 0.4, -0.4]])


def turned(yaw: float, roll: float) -> NDArray[np.float64]:
    """HEAD's keypoints (5, 2) seen at two angles, in degrees."""
    a, b = np.deg2rad([yaw, roll])
    x, y = HEAD[:, 0] * np.cos(a) + HEAD[:, 2] * np.sin(a), HEAD[:, 1]
    return np.stack([x * np.cos(b) - y * np.sin(b), x * np.sin(b) + y * np.cos(b)], 1)


def random_face(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Keypoints of a face of any size and roll, within the picture, across its border or outside."""
    size = np.exp(rng.uniform(np.log(8), np.log(1.5 * height)))
    points = turned(rng.uniform(-60, 60), rng.uniform(-180, 180)) * size
    points += rng.uniform(-0.2, 1.2, 2) * (width, height) + rng.normal(0, size * 0.01, (5, 2))
    return np.asarray(points, np.float32)


def noise(rng: np.random.Generator, height: int, width: int) -> Pixels:
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [112, 128, 224, 256, 512])
def test_matrices_are_the_librarys(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(300):
        points = random_face(rng, *rng.integers(64, 4000, 2))
        np.testing.assert_array_equal(arcface_matrix(points, size), face_align.estimate_norm(points, size))


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920), (333, 1001), (2160, 3840), (40, 30)])
@pytest.mark.parametrize("size", [112, 128])
def test_crops_are_the_librarys(height: int, width: int, size: int) -> None:
    rng = np.random.default_rng([height, size])
    picture = noise(rng, height, width)
    picture.setflags(write=False)
    refused = 0
    for _ in range(60):
        points = random_face(rng, height, width)
        crop, matrix = face_align.norm_crop2(picture, points, size)
        try:
            square = arcface_square(picture, points, size)
        except FaceError:
            white = np.full((size, size), 255, np.float32)
            assert cv2.warpAffine(white, cv2.invertAffineTransform(matrix), (width, height)).max() <= 20  # the library's paste fails here
            refused += 1
            continue
        np.testing.assert_array_equal(square.pixels, crop)
        np.testing.assert_array_equal(square.matrix, matrix)
        np.testing.assert_allclose(square.keypoints, points @ matrix[:, :2].T + matrix[:, 2], atol=1e-3)
    assert refused < 30


def test_a_face_outside_the_picture_is_refused() -> None:
    picture = noise(np.random.default_rng(0), 90, 120)
    for x, y in ((-100, 45), (220, 45), (60, -100), (60, 190), (-70, -70)):
        with pytest.raises(FaceError, match="outside the picture"):
            arcface_square(picture, turned(0, 0) * 40 + (x, y), 128)


@given(st.integers(0, 2**32), st.integers(3, 12))
def test_similarities_are_scikit_images(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, 2)) * 10 ** rng.uniform(-1, 3), rng.normal(size=(n, 2)) * 50 + rng.normal(size=2) * 1000
    if seed % 3 == 0:  # nearly a mirror image
        b = a * (-2, 2) + rng.normal(size=(n, 2)) * 0.1
    if np.sqrt(a.var(0).sum()) < 0.2:
        return
    matrix, fit = umeyama(a, b)
    np.testing.assert_allclose(matrix, SimilarityTransform.from_estimate(a, b).params[:2], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(matrix, similarity(a, b).matrix, rtol=1e-7, atol=1e-7)
    assert np.linalg.det(matrix[:, :2]) > 0
    moved = a @ matrix[:, :2].T + matrix[:, 2]
    assert fit**2 == pytest.approx(1 - ((moved - b) ** 2).sum() / ((b - b.mean(0)) ** 2).sum(), abs=1e-6)


def test_points_on_a_line_are_turned_and_not_mirrored() -> None:
    line = np.array([[0.0, 0], [1, 0], [2, 0], [5, 0]])
    for goal in (line[:, ::-1] * 3, line * -2, line * (1, 0) + (4, 5)):
        matrix, fit = umeyama(line, goal)
        np.testing.assert_allclose(line @ matrix[:, :2].T + matrix[:, 2], goal, atol=1e-12)
        assert np.linalg.det(matrix[:, :2]) > 0
        assert fit == pytest.approx(1)


def test_the_template_is_the_librarys() -> None:
    np.testing.assert_array_equal(TEMPLATE, face_align.arcface_dst)
    np.testing.assert_allclose(arcface_matrix(TEMPLATE, 112), np.eye(2, 3), atol=1e-4)
    np.testing.assert_array_equal(template(112), TEMPLATE)
    for size in (0, 100, -112):
        with pytest.raises(ValueError, match="multiple"):
            template(size)


def swapped_sides(points: Floats) -> Floats:
    return points[[1, 0, 2, 4, 3]]


@pytest.mark.parametrize("yaw", range(-90, 91, 15))
@pytest.mark.parametrize("roll", [0, 45, 90, 180, -135])
def test_faces_at_any_angle_are_taken_and_mirrored_ones_refused(yaw: int, roll: int) -> None:
    points = (turned(yaw, roll) * 100 + 200).astype(np.float32)
    arcface_matrix(points, 112)
    if abs(yaw) <= 30:
        for mirrored in (swapped_sides(points), points * (-1, 1)):
            with pytest.raises(FaceError, match="do not lie as in a face"):
                arcface_matrix(mirrored, 112)


def test_keypoints_on_which_the_library_fails_are_refused() -> None:
    picture, face = noise(np.random.default_rng(0), 100, 100), (turned(0, 0) * 50 + 50).astype(np.float32)
    for value in (np.nan, np.inf, 1e30):
        points = face.copy()
        points[3, 1] = value
        with pytest.raises(FaceError, match="not finite"):
            arcface_square(picture, points, 112)
    broken = face.copy()
    broken[0, 0] = np.nan
    with pytest.raises(np.linalg.LinAlgError), np.errstate(all="ignore"):
        face_align.norm_crop2(picture, broken, 112)
    identical = np.full((5, 2), 31.7, np.float32)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        assert not np.isfinite(face_align.estimate_norm(identical, 112)).all()
    for spot in (identical, identical + np.float32(1e-2) * face / 100, np.zeros((5, 2))):
        with pytest.raises(FaceError, match="one spot"):
            arcface_square(picture, spot, 112)


def test_other_than_five_keypoints_are_a_mistake_of_the_caller() -> None:
    for points in (np.zeros((4, 2)), np.zeros((5, 3)), np.zeros(10)):
        with pytest.raises(ValueError, match="five keypoints"):
            arcface_matrix(points, 112)


def grid(polygon: Matrix) -> NDArray[np.bool_]:
    """Which points of a 60 by 60 grid of steps of 1/2 lie within a convex polygon, by the side of its edges."""
    x, y = np.meshgrid(np.arange(60) / 2, np.arange(60) / 2)
    sides = []
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        sides.append((bx - ax) * (y - ay) - (by - ay) * (x - ax))
    return np.asarray(np.all(np.array(sides) >= -1e-9, 0) | np.all(np.array(sides) <= 1e-9, 0), bool)


def rotated_square(x: float, y: float, side: float, angle: float) -> Matrix:
    a = np.deg2rad(angle)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
    return np.asarray(corners @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + (x, y), np.float64)


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30), st.floats(3, 20), st.floats(0, 90)), min_size=2, max_size=2))
def test_polygons_that_share_a_point_meet(squares: list[tuple[float, float, float, float]]) -> None:
    a, b = (rotated_square(*square) for square in squares)
    if (grid(a) & grid(b)).any():
        assert meets(a, b)
    (ax, ay, aside, _), (bx, by, bside, _) = squares
    if np.hypot(ax - bx, ay - by) > (aside + bside) / np.sqrt(2):
        assert not meets(a, b)


def test_squares_that_only_their_upright_boxes_would_join_do_not_meet() -> None:
    assert not meets(rotated_square(0, 0, 10, 45), rotated_square(8, 8, 10, 45))
    assert meets(rotated_square(0, 0, 10, 45), rotated_square(8, 8, 10, 0))
    assert not meets(rotated_square(-6, -6, 10, 45), rectangle((50, 50)))
    assert meets(rotated_square(0, 0, 10, 45), rectangle((1, 1)))


def test_a_quadrangle_holds_what_a_square_shows() -> None:
    matrix = np.array([[0.5, 0, -10], [0, 0.5, -20]])
    np.testing.assert_allclose(quadrangle(matrix, 100), [[18, 38], [220, 38], [220, 240], [18, 240]])
    np.testing.assert_allclose(quadrangle(matrix, 100, margin=3), [[15, 35], [223, 35], [223, 243], [15, 243]])
