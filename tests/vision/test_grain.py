"""Detail and noise of one picture brought to those of another."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from serve_app.vision import grain
from serve_app.vision.face import Floats, Pixels

SHAPE = (160, 180)


def drawing(seed: int, soft: float = 0.5, noise: float = 0.0, blotch: float = 0.0) -> Pixels:
    """Skin above, dark shapes below. soft: pixels. noise: levels; blotch: pixels by which it is smeared."""
    rng = np.random.default_rng(seed)
    grey = np.full(SHAPE, 170, np.float32)
    for _ in range(24):
        x, y = rng.integers(10, SHAPE[1] - 10), rng.integers(100, SHAPE[0] - 10)
        cv2.ellipse(grey, (int(x), int(y)), (9, 4), float(rng.integers(180)), 0, 360, float(rng.integers(40, 120)), -1)
    rough = rng.normal(0, 1, SHAPE).astype(np.float32)
    if blotch:
        rough = smeared(rough, blotch)
    return np.repeat(np.clip(smeared(grey, soft) + noise * rough / rough.std(), 0, 255).astype(np.uint8)[..., None], 3, 2)


def smeared(grey: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def parts() -> tuple[Floats, Floats]:
    skin, features = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    skin[5:85] = features[95:] = 1
    return skin, features


def matched(swapped: Pixels, target: Pixels) -> Floats:
    added = grain.matching(swapped.astype(np.float32), target, *parts())
    assert added.shape == SHAPE
    assert added.dtype == np.float32
    return swapped[..., 0] + added


def steepness(grey: Floats) -> float:
    """Of the edges, 99th percentile."""
    return float(np.percentile(np.abs(np.diff(grey[95:], axis=1)), 99))


@pytest.mark.parametrize("soft", [1.0, 2.0, 3.0])
def test_a_face_gets_as_soft_as_its_picture(soft: float) -> None:
    crisp, target = drawing(1), drawing(2, soft)
    wanted = steepness(target[..., 0].astype(np.float32))
    assert steepness(crisp[..., 0].astype(np.float32)) > 1.8 * wanted
    assert steepness(matched(crisp, target)) == pytest.approx(wanted, rel=0.3)


@pytest.mark.parametrize(("noise", "blotch"), [(3.0, 0.0), (8.0, 0.0), (8.0, 0.8)])
def test_a_face_gets_as_noisy_as_its_picture(noise: float, blotch: float) -> None:
    target = drawing(2, 0.5, noise, blotch)
    smooth = matched(drawing(1), target)
    for result in (smooth, matched(drawing(1, 0.5, noise / 2), target)):
        for sigma in (0.8, 1.6):
            one, other = (
                float((grey - cv2.GaussianBlur(grey, (0, 0), sigma))[10:80].std()) for grey in (result, target[..., 0].astype(np.float32))
            )
            assert 0.65 * other < one < 1.25 * other


def test_soft_and_noisy_at_once() -> None:
    """An old film: its grain is no sharpness."""
    target = drawing(2, 2.0, 5.0)
    result = matched(drawing(1), target)
    clean, wanted, crisp = (smeared(grey.astype(np.float32), 1.5) for grey in (result, target[..., 0], drawing(1)[..., 0]))
    assert steepness(clean) < 1.2 * steepness(wanted) < 0.9 * steepness(crisp)
    assert (result[10:80] - clean[10:80]).std() > 3


def test_alike_pictures_are_left_alone_and_nothing_is_sharpened() -> None:
    assert np.abs(matched(drawing(1), drawing(2)) - drawing(1)[..., 0]).max() < 3
    soft = drawing(1, 3.0)
    assert np.abs(matched(soft, drawing(2)) - soft[..., 0]).max() < 3


def test_the_same_pictures_give_the_same_grain() -> None:
    swapped, target = drawing(1), drawing(2, 1.0, 6.0)
    np.testing.assert_array_equal(matched(swapped, target), matched(swapped, target))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_nothing_to_go_by(level: int) -> None:
    flat = np.full((*SHAPE, 3), level, np.uint8)
    assert np.isfinite(matched(drawing(1), flat)).all()
    assert np.isfinite(matched(flat, drawing(1, 1.0, 5.0))).all()
    nowhere = np.zeros(SHAPE, np.float32)
    assert not grain.matching(drawing(1).astype(np.float32), flat, nowhere, nowhere).any()
    tiny = np.ones((3, 3), np.float32)
    assert not grain.matching(drawing(1)[:3, :3].astype(np.float32), flat[:3, :3], tiny, tiny).any()
