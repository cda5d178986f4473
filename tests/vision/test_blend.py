"""Multi-band blending."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.vision.blend import bands, multiband


@pytest.mark.parametrize("shape", [(64, 64), (37, 51), (1, 5), (3, 2)])
@pytest.mark.parametrize("levels", [1, 3, 5])
def test_all_or_nothing(shape: tuple[int, int], levels: int) -> None:
    difference = np.random.default_rng(0).normal(0, 30, (*shape, 3)).astype(np.float32)
    np.testing.assert_allclose(multiband(difference, np.ones(shape, np.float32), levels), difference, atol=1e-4)
    assert not multiband(difference, np.zeros(shape, np.float32), levels).any()


def test_coarse_differences_fade_widely_and_fine_ones_do_not() -> None:
    mask = np.zeros((128, 128), np.float32)
    mask[:, 64:] = 1
    coarse = np.full((128, 128, 3), 100.0, np.float32)
    fine = coarse * np.where(np.indices((128, 128)).sum(0) % 2, 1.0, -1.0)[..., None].astype(np.float32)
    step = np.abs(np.diff(multiband(coarse, mask, 4)[64, :, 0])).max()
    assert step < 25
    blended = np.abs(multiband(fine, mask, 4)[64, :, 0])
    assert blended[:58].max() < 20
    assert blended[70:].min() > 80


def test_larger_faces_get_more_bands() -> None:
    assert [bands(size) for size in (5, 30, 110, 335, 1e4)] == [1, 1, 2, 3, 5]
