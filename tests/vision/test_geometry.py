"""Similarity transforms, and the square around a face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.engines.weights import load_topology
from serve_app.vision.geometry import axis_square, cut, similarity
from serve_app.vision.mesh import LEFT_EYE, RIGHT_EYE
from tests.gallery import gallery

FACE = np.array([[40.0, 50], [70, 50], [55, 68], [43, 82], [67, 82]])


def turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) rotation, degrees."""
    rotations = [
        cv2.Rodrigues(np.radians(angle) * np.array(axis, float))[0]
        for angle, axis in ((roll, (0, 0, 1)), (yaw, (0, 1, 0)), (pitch, (1, 0, 0)))
    ]
    return np.asarray(rotations[0] @ rotations[1] @ rotations[2])


@given(
    st.integers(2, 3),
    st.floats(0.05, 20),
    st.tuples(st.floats(-180, 180), st.floats(-180, 180), st.floats(-180, 180)),
    st.floats(-1e4, 1e4),
    st.integers(0, 2**32 - 1),
)
def test_a_similarity_is_found_again(dimensions: int, scale: float, angles: tuple[float, float, float], shift: float, seed: int) -> None:
    points = np.random.default_rng(seed).normal(0, 10, (7, dimensions))
    rotation = turn(*angles) if dimensions == 3 else turn(0, 0, angles[2])[:2, :2]
    moved = scale * points @ rotation.T + shift
    found = similarity(points, moved)
    assert found.scale == pytest.approx(scale, rel=1e-6)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-6)
    np.testing.assert_allclose(found.apply(points), moved, atol=1e-5)
    np.testing.assert_allclose(points @ found.matrix[:, :dimensions].T + found.matrix[:, dimensions], moved, atol=1e-5)


def test_mirrored_points_are_rotated_never_reflected() -> None:
    found = similarity(FACE, FACE * [-1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_a_point_without_weight_has_no_say() -> None:
    moved = FACE + np.array([3, 4])
    moved[2] = [900, -900]
    found = similarity(FACE, moved, [1, 1, 0, 1, 1])
    np.testing.assert_allclose(found.matrix, [[1, 0, 3], [0, 1, 4]], atol=1e-9)


@pytest.mark.parametrize("points", [np.full((5, 2), 7.0), np.full((5, 2), np.nan)])
def test_points_that_span_nothing_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="points"):
        similarity(points, FACE)


def test_the_square_holds_every_real_face_with_room_to_spare(builtin_weights: Path) -> None:
    people = gallery(builtin_weights)
    for person in (people.astronaut, people.hanks, *people.six):
        side, points = person.square.shape[0], person.mesh[:468, :2]
        face = np.ptp(points, axis=0).max()
        assert points.min() >= 0.2 * face
        assert (side - points).min() >= 0.2 * face
        assert side < 2.1 * face


@pytest.mark.parametrize("yaw", range(-90, 91, 30))
@pytest.mark.parametrize("pitch", [-30, 0, 30])
def test_the_square_holds_a_turned_head(builtin_weights: Path, yaw: int, pitch: int) -> None:
    vertices = load_topology(builtin_weights).vertices.astype(np.float64)
    for roll in range(-180, 180, 15):
        points = (vertices @ turn(yaw, pitch, roll).T)[:, :2] * [12, -12] + 500
        keypoints = [points[list(LEFT_EYE)].mean(0), points[list(RIGHT_EYE)].mean(0), points[1], points[61], points[291]]
        matrix, side = axis_square((1000, 1000), keypoints, max_side=1000)
        inside, face = points + matrix[:, 2], np.ptp(points, axis=0).max()
        assert min(inside.min(), side - inside.max()) >= 0.2 * face


@given(st.floats(0.3, 30), st.floats(0, 1500), st.floats(0, 900), st.floats(-180, 180))
def test_a_square_is_even_and_lies_on_whole_pixels(size: float, x: float, y: float, roll: float) -> None:
    keypoints = (FACE - FACE.mean(0)) @ turn(0, 0, roll)[:2, :2] * size + [x, y]
    matrix, side = axis_square((900, 1500), keypoints, max_side=20_000)
    assert side % 2 == 0
    assert side >= 16
    np.testing.assert_array_equal(matrix, np.array([[1, 0, round(matrix[0, 2])], [0, 1, round(matrix[1, 2])]]))


def test_a_large_square_is_scaled_down() -> None:
    whole, natural = axis_square((2000, 2000), FACE * 10, max_side=4000)
    matrix, side = axis_square((2000, 2000), FACE * 10, max_side=301)
    assert side == 300
    assert matrix[0, 0] == matrix[1, 1] == pytest.approx(300 / natural)
    edges = np.array([[-0.5, -0.5], [natural - 0.5, natural - 0.5]]) - whole[:, 2]  # outer edges of the corner pixels
    np.testing.assert_allclose(edges @ matrix[:, :2].T + matrix[:, 2], [[-0.5, -0.5], [299.5, 299.5]])


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [(FACE * np.nan, "finite"), (FACE[:4], "five"), (FACE * 0 + 9, "one spot"), (FACE + 5000, "outside"), (FACE - 5000, "outside")],
)
def test_keypoints_without_a_face_are_refused(keypoints: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        axis_square((200, 300), keypoints, max_side=512)


@given(st.integers(-150, 250), st.integers(-150, 150), st.integers(1, 160))
def test_a_shifted_square_is_copied_exactly(x: int, y: int, side: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    picture.setflags(write=False)
    square = cut(picture, np.array([[1.0, 0, -x], [0, 1, -y]]), side, FACE)
    rows, columns = np.clip(np.arange(y, y + side), 0, 59), np.clip(np.arange(x, x + side), 0, 89)
    np.testing.assert_array_equal(square.pixels, picture[rows][:, columns])
    np.testing.assert_array_equal(square.keypoints, (FACE - [x, y]).astype(np.float32))


def test_a_scaled_square_keeps_things_where_they_were() -> None:
    y, x = np.mgrid[:800, :1200]
    picture = np.stack([x * 255 / 1199, y * 255 / 799, np.full_like(x, 40)], 2).astype(np.uint8)
    keypoints = FACE * 6
    matrix, side = axis_square(picture.shape[:2], keypoints, max_side=128)
    square = cut(picture, matrix, side, keypoints)
    for point, original in zip(square.keypoints, keypoints, strict=True):
        found, expected = square.pixels[round(point[1]), round(point[0])], picture[round(original[1]), round(original[0])]
        assert np.abs(found.astype(int) - expected).max() <= 2


def test_shrinking_averages_instead_of_skipping() -> None:
    checks = np.repeat(((np.indices((1000, 1000)).sum(0) % 2) * 255).astype(np.uint8)[..., None], 3, 2)
    matrix, side = axis_square(checks.shape[:2], FACE * 9 - 50, max_side=96)
    assert cut(checks, matrix, side, FACE).pixels.std() < 12


def test_a_scaled_square_past_the_border_repeats_it() -> None:
    picture = np.full((400, 400, 3), 200, np.uint8)
    matrix, side = axis_square(picture.shape[:2], FACE * 6 - [300, 300], max_side=64)
    assert (cut(picture, matrix, side, FACE).pixels == 200).all()
