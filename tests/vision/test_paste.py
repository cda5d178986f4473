"""Patches back into pictures."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serve_app.vision.face import Patch
from serve_app.vision.geometry import axis_square, cut
from serve_app.vision.paste import paste

FACE = np.array([[40.0, 50], [70, 50], [55, 68], [43, 82], [67, 82]])


def shift(x: int, y: int) -> np.ndarray:
    """Picture -> square whose corner lies at (x, y)."""
    return np.array([[1.0, 0, -x], [0, 1, -y]])


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@given(st.integers(-60, 90), st.integers(-60, 60), st.integers(1, 70), st.integers(0, 9))
def test_a_shifted_patch_is_the_weighted_mean_clipped_to_the_picture(x: int, y: int, side: int, seed: int) -> None:
    target, pixels, mask = noise(seed, 48, 80, 3), noise(seed + 10, side, side, 3), noise(seed + 20, side, side)
    mask[noise(seed + 30, side, side) < 120] = 0
    for array in (target, pixels, mask):
        array.setflags(write=False)
    result = paste(target, [(Patch(pixels, mask), shift(x, y))])
    expected = target.astype(int)
    for row in range(max(y, 0), min(y + side, 48)):
        for column in range(max(x, 0), min(x + side, 80)):
            share = float(mask[row - y, column - x])
            expected[row, column] = np.floor((pixels[row - y, column - x] * share + expected[row, column] * (255 - share)) / 255 + 0.5)
    np.testing.assert_array_equal(result, expected)


def test_every_value_is_rounded_to_nearest() -> None:
    values, shares = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    pixels, target = np.repeat(values[..., None], 3, 2), np.full((256, 256, 3), 131, np.uint8)
    result = paste(target, [(Patch(pixels, shares), shift(0, 0))])
    np.testing.assert_array_equal(result[..., 0], np.round((values * shares.astype(float) + 131 * (255.0 - shares)) / 255))


def test_later_patches_lie_on_top() -> None:
    target = noise(0, 30, 30, 3)
    patches = [
        (Patch(np.full((20, 20, 3), value, np.uint8), np.full((20, 20), 255, np.uint8)), shift(at, at)) for value, at in ((10, 0), (200, 8))
    ]
    result = paste(target, patches)
    assert (result[:8, :8] == 10).all()
    assert (result[8:28, 8:28] == 200).all()
    np.testing.assert_array_equal(result[28:], target[28:])


def test_no_patch_and_an_empty_mask_change_nothing_and_give_a_new_array() -> None:
    target = noise(0, 30, 30, 3)
    empty = Patch(noise(1, 16, 16, 3), np.zeros((16, 16), np.uint8))
    for patches in ([], [(empty, shift(3, 3))]):
        result = paste(target, patches)
        np.testing.assert_array_equal(result, target)
        assert not np.shares_memory(result, target)


def test_an_untouched_square_goes_back_unnoticed() -> None:
    target = noise(2, 200, 200, 3)
    matrix, side = axis_square((200, 200), FACE, max_side=512)
    square = cut(target, matrix, side, FACE)
    np.testing.assert_array_equal(paste(target, [(Patch(square.pixels, np.full((side, side), 255, np.uint8)), matrix)]), target)


def test_a_scaled_patch_lands_where_it_was_cut() -> None:
    y, x = np.mgrid[:700, :900]
    target = np.stack([x * 200 / 899, y * 200 / 699, 100 + 50 * np.sin(x / 40)], 2).astype(np.uint8)
    matrix, side = axis_square(target.shape[:2], FACE * 5, max_side=160)
    assert matrix[0, 0] < 0.5
    square = cut(target, matrix, side, FACE * 5)
    mask = np.zeros((side, side), np.uint8)
    mask[40:-40, 40:-40] = 255
    result = paste(target, [(Patch(square.pixels, mask), matrix)])
    assert np.abs(result.astype(int) - target).max() <= 3  # merely resampled

    painted = paste(target, [(Patch(np.full_like(square.pixels, 255), mask), matrix)])
    rows, columns = np.nonzero((painted == 255).all(2))
    low, high = (np.array([40 - 0.5, side - 40 - 0.5]) - matrix[:, 2:]) / matrix[0, 0] @ np.eye(2)
    np.testing.assert_allclose([columns.min(), columns.max()], low, atol=3)
    np.testing.assert_allclose([rows.min(), rows.max()], high, atol=3)
    outside = np.ones(target.shape[:2], bool)
    outside[rows.min() - 4 : rows.max() + 5, columns.min() - 4 : columns.max() + 5] = False
    np.testing.assert_array_equal(painted[outside], target[outside])


@given(st.floats(-180, 180), st.floats(0.2, 3), st.floats(-300, 300), st.floats(-300, 300))
def test_any_matrix_stays_inside_the_picture(angle: float, scale: float, x: float, y: float) -> None:
    target = noise(3, 60, 80, 3)
    cos, sin = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    patch = Patch(np.full((32, 32, 3), 7, np.uint8), np.full((32, 32), 255, np.uint8))
    result = paste(target, [(patch, np.array([[cos, -sin, x], [sin, cos, y]]))])
    assert result.shape == target.shape
    inside = np.argwhere((result != target).any(2))[:, ::-1] @ np.array([[cos, -sin], [sin, cos]]).T + [x, y]
    assert not len(inside) or (inside.min() > -1 and inside.max() < 32)
