"""Faces at working size."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.vision.mesh import Mesh
from serve_app.vision.view import View


def mesh(size: float) -> Mesh:
    points = np.zeros((468, 3))
    points[:, :2] = np.random.default_rng(0).uniform(0, 1, (468, 2))
    points[0], points[1] = (0, 0, 0), (1, 1, 0)
    return points * size + [20, 30, 0]


def test_a_large_face_is_shrunk_and_its_points_follow() -> None:
    y, x = np.mgrid[:500, :400]
    pixels = np.stack([x / 2, y / 2, np.full_like(x, 99)], 2).astype(np.uint8)
    view = View.of(pixels, mesh(300), 100)
    assert view.size == pytest.approx(100, rel=0.01)
    for point in view.points[:20]:
        column, row = np.round(point).astype(int)
        seen, expected = view.bgr[row, column, :2] * 255, (point + 0.5) / view.step - 0.5
        np.testing.assert_allclose(seen * 2, expected, atol=3)


def test_a_small_face_is_left_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    view = View.of(pixels, mesh(50), 100)
    np.testing.assert_allclose(view.bgr * 255, pixels, atol=1e-3)
    np.testing.assert_allclose(view.points, mesh(50)[:, :2])
    field = view.bgr[..., 0]
    np.testing.assert_array_equal(view.enlarge(field, (3, 5, 60, 70)), field[5:70, 3:60])


def test_a_field_is_enlarged_in_place() -> None:
    view = View.of(np.zeros((511, 397, 3), np.uint8), mesh(300), 100)
    rows, columns = np.mgrid[: view.shape[0], : view.shape[1]].astype(np.float32)
    for field, axis, step in ((columns, 1, view.step[0]), (rows, 0, view.step[1])):
        large = view.enlarge(field, (40, 60, 300, 400))
        expected = (np.arange((40, 60)[1 - axis], (300, 400)[1 - axis]) + 0.5) * step - 0.5
        np.testing.assert_allclose(large.mean(1 - axis), expected, atol=0.05)
    stacked = view.enlarge(np.stack([rows] * 3, 2), (40, 60, 300, 400))
    assert stacked.shape == (340, 260, 3)
