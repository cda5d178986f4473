"""Piecewise affine warping."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.vision.warp import affine_maps, dense_map, rasterise, sample, spread

GRID = np.array([[x, y] for y in range(0, 101, 20) for x in range(0, 101, 20)], np.float64)
CELLS = np.array([t for y in range(5) for x in range(5) for i in [6 * y + x] for t in ((i, i + 1, i + 6), (i + 1, i + 7, i + 6))], np.intp)


def grid_map(points: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    index = rasterise(points, np.zeros(len(points)), CELLS, (101, 101))
    axis = np.arange(101, dtype=np.float32)
    return index, *dense_map(index, affine_maps(points, source, CELLS), axis, axis)


def test_a_mesh_laid_on_itself_gives_the_same_pixels() -> None:
    index, x, y = grid_map(GRID, GRID)
    assert (index > 0).all()
    columns, rows = np.meshgrid(np.arange(101), np.arange(101))
    np.testing.assert_allclose(x, columns, atol=1e-3)
    np.testing.assert_allclose(y, rows, atol=1e-3)
    pixels = np.random.default_rng(0).integers(0, 256, (101, 101, 3), np.uint8)
    np.testing.assert_array_equal(sample(pixels, np.round(x), np.round(y)), pixels)


def test_every_vertex_goes_to_its_partner_and_between_them_it_is_even() -> None:
    source = GRID + np.random.default_rng(1).uniform(-6, 6, GRID.shape)
    _, x, y = grid_map(GRID, source)
    at = GRID.astype(int)
    np.testing.assert_allclose(x[at[:, 1], at[:, 0]], source[:, 0], atol=1e-3)
    np.testing.assert_allclose(y[at[:, 1], at[:, 0]], source[:, 1], atol=1e-3)
    np.testing.assert_allclose(x[0, 10], (source[0, 0] + source[1, 0]) / 2, atol=1e-3)


def test_a_mirrored_mesh_mirrors_the_picture() -> None:
    _, x, _ = grid_map(GRID, GRID * [-1, 1] + [100, 0])
    np.testing.assert_allclose(x, np.broadcast_to(100 - np.arange(101), (101, 101)), atol=1e-3)


def test_nearer_triangles_cover_farther_ones() -> None:
    points = np.array([[0, 0], [40, 0], [0, 40], [0, 0], [40, 0], [0, 40]], np.float64)
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    near_first, far_first = (
        rasterise(points, np.array(depth, float), triangles, (41, 41)) for depth in ([1, 1, 1, 5, 5, 5], [5, 5, 5, 1, 1, 1])
    )
    assert near_first[5, 5] == 1
    assert far_first[5, 5] == 2
    assert near_first[40, 40] == 0


def test_a_triangle_seen_edge_on_does_not_fling_its_pixels_away() -> None:
    points = np.array([[10, 10], [90, 10.01], [50, 10.02], [10, 90]], np.float64)
    source = np.array([[10, 10], [90, 10], [50, 80], [10, 90]], np.float64)
    triangles = np.array([[0, 1, 2], [0, 1, 3]])
    axis = np.arange(101, dtype=np.float32)
    x, y = dense_map(np.ones((101, 101), np.intp), affine_maps(points, source, triangles), axis, axis)
    assert np.isfinite(x).all()
    assert np.abs(x).max() < 800
    assert np.abs(y).max() < 800


def test_beyond_the_mesh_the_similarity_goes_on() -> None:
    maps = affine_maps(GRID, GRID * 0.5 + [3, 4], CELLS)
    x, y = dense_map(np.zeros((1, 1), np.intp), maps, np.array([200], np.float32), np.array([300], np.float32))
    assert x[0, 0] == pytest.approx(103, abs=1e-3)
    assert y[0, 0] == pytest.approx(154, abs=1e-3)


def test_values_are_spread_over_triangles_and_are_zero_outside() -> None:
    index = rasterise(GRID[:8], np.zeros(8), CELLS[:1], (101, 101))
    values = np.zeros(36)
    values[[0, 1, 6]] = (0.3, 0.6, 0.9)
    field = spread(values, index, CELLS[:1])
    assert field[4, 4] == pytest.approx(0.6)
    assert field[90, 90] == 0
