"""Colour and light from one face to another."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.vision import colour
from serve_app.vision.colour import Regions
from serve_app.vision.view import to_bgr, to_lab

SHAPE = (96, 96)
SKIN = np.array([60.0, 14.0, 18.0], np.float32)


def regions() -> Regions:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    seen = np.clip((44 - np.hypot(x - 48, y - 48)) / 6, 0, 1).astype(np.float32)
    nothing = np.zeros(SHAPE, np.float32)
    return Regions(seen, seen, nothing, nothing, nothing, (np.hypot(x - 48, y - 48) > 25).astype(np.float32))


def skin(mean: np.ndarray, seed: int, deviation: float = 4.0) -> np.ndarray:
    """(96, 96, 3) L*a*b* of skin with pores."""
    noise = np.random.default_rng(seed).normal(0, 1, (*SHAPE, 3)) * [deviation, 1, 1]
    return (mean + noise).astype(np.float32)


def shaded(lab: np.ndarray, factor: np.ndarray) -> np.ndarray:
    result = lab.copy()
    result[..., 0] *= factor
    return result


@pytest.mark.parametrize("other", [[78.0, 6.0, 12.0], [35.0, 16.0, 24.0], [60.0, 0.0, 0.0], [20.0, 4.0, 4.0]])
def test_skin_takes_the_targets_mean_colour_and_keeps_its_own_structure(other: list[float]) -> None:
    source, target, where = skin(SKIN, 1), skin(np.array(other, np.float32), 2), regions()
    matched = colour.match(source, target, where, 80, 0.7)
    inside = where.seen > 0.9
    np.testing.assert_allclose(matched[inside].mean(0), target[inside].mean(0), atol=1.5)
    assert np.corrcoef(matched[..., 0][inside], source[..., 0][inside])[0, 1] > 0.8
    assert abs(np.corrcoef(matched[..., 0][inside], target[..., 0][inside])[0, 1]) < 0.3


def test_the_targets_light_is_laid_on() -> None:
    ramp = np.linspace(0.7, 1.3, SHAPE[1])[None]
    where = regions()
    target = shaded(skin(SKIN, 2), ramp)
    inside = where.seen > 0.9
    for source in (skin(SKIN, 1), shaded(skin(SKIN, 1), ramp[:, ::-1])):
        matched = colour.match(source, target, where, 80, 1.0)
        left, right = matched[:, :40][inside[:, :40]][:, 0].mean(), matched[:, 56:][inside[:, 56:]][:, 0].mean()
        assert right - left > 8
        untouched = colour.match(source, target, where, 80, 0.0)[:, 40:56][inside[:, 40:56]]
        assert np.isfinite(untouched).all()


def test_shadows_of_skin_are_more_saturated_where_the_targets_are() -> None:
    """No grey patches: tint follows lightness as it does on the target."""
    target, source, where = skin(SKIN, 2, 8.0), skin(SKIN, 1, 8.0), regions()
    target[..., 1:] -= 0.8 * (target[..., :1] - 60)
    matched = colour.match(source, target, where, 80, 0.7)[where.seen > 0.9]
    assert np.polyfit(matched[:, 0], matched[:, 1], 1)[0] < -0.5


def test_nothing_shines_brighter_than_the_targets_skin() -> None:
    source, target, where = skin(SKIN, 1), skin(SKIN, 2, 1.0), regions()
    source[40:56, 40:56, 0] = 98
    matched = colour.match(source, target, where, 80, 0.7)
    assert matched[40:56, 40:56, 0].max() < target[where.seen > 0.9][:, 0].max() + 8


@pytest.mark.parametrize("source", [0.0, 50.0, 100.0])
@pytest.mark.parametrize("target", [0.0, 50.0, 100.0])
def test_flat_grey_pictures_stay_finite(source: float, target: float) -> None:
    one, other = (np.zeros((*SHAPE, 3), np.float32) + np.array([level, 0, 0], np.float32) for level in (source, target))
    matched = colour.match(one, other, regions(), 80, 0.7)
    assert np.isfinite(matched).all()
    assert np.isfinite(colour.usable(one, other, regions(), 80)).all()
    gain, offset = colour.local_affine(np.clip(to_bgr(one), 0, 1), np.clip(to_bgr(matched), 0, 1), 4)
    assert np.isfinite(gain).all()
    assert np.isfinite(offset).all()


def test_without_any_skin_in_sight_it_stays_finite() -> None:
    nowhere = regions().within(np.zeros(SHAPE, np.float32))
    assert np.isfinite(colour.match(skin(SKIN, 1), skin(SKIN, 2), nowhere, 80, 0.7)).all()


def test_deep_shadow_is_not_used_outside_the_middle() -> None:
    source, target, where = skin(SKIN, 1), skin(SKIN, 2), regions()
    source[:, 72:, 0] = 12
    share = colour.usable(source, target, where, 80)
    assert share[48, 82] < 0.1
    assert share[48, 48] == 1
    assert share[48, 12] > 0.9


def test_mirrored_skin_gets_the_light_of_the_skin_beside_it() -> None:
    here, there = np.full((*SHAPE, 4), 0.6, np.float32), np.full((*SHAPE, 4), 0.3, np.float32)
    here[..., 3] = there[..., 3] = 1
    weight = np.zeros(SHAPE, np.float32)
    weight[:, :60] = 1
    factor = colour.continued(here, there, weight, 80)
    np.testing.assert_allclose(factor[:, :70], 0.62 / 0.32, rtol=0.02)
    assert factor.min() >= 0.6
    assert factor.max() <= 2


def test_a_local_affine_change_is_recovered_at_any_size() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0.2, 0.8, (*SHAPE, 3)).astype(np.float32)
    after = before * np.array([0.8, 1.1, 0.9], np.float32) + np.array([0.05, -0.02, 0.1], np.float32)
    gain, offset = colour.local_affine(before, after, 4)
    np.testing.assert_allclose(before * gain + offset, after, atol=0.01)
    finer = rng.uniform(0.2, 0.8, (*SHAPE, 3)).astype(np.float32)  # detail that the working size did not see
    np.testing.assert_allclose(
        finer * gain + offset, finer * np.array([0.8, 1.1, 0.9], np.float32) + np.array([0.05, -0.02, 0.1], np.float32), atol=0.02
    )


def test_a_flat_place_keeps_the_contrast_of_finer_detail() -> None:
    before = np.full((*SHAPE, 3), 0.4, np.float32)
    gain, offset = colour.local_affine(before, before * 1.5, 4)
    np.testing.assert_allclose(gain, 0.62 / 0.42, rtol=1e-3)
    np.testing.assert_allclose(before * gain + offset, 0.6, atol=1e-3)


def test_a_low_pass_sees_only_what_has_weight() -> None:
    field = np.full((*SHAPE, 1), 5.0, np.float32)
    field[:, 48:] = np.float32(900)
    weight = np.zeros(SHAPE, np.float32)
    weight[:, :48] = 1
    for sigma in (2.0, 9.0, 20.0):
        smooth = colour.low_pass(field, weight, sigma, 1e-5)
        assert smooth.shape == field.shape
        np.testing.assert_allclose(smooth[:, :40], 5, rtol=0.02)


def test_lab_and_back() -> None:
    bgr = np.random.default_rng(0).uniform(0.02, 0.98, (30, 30, 3)).astype(np.float32)
    np.testing.assert_allclose(to_bgr(to_lab(bgr)), bgr, atol=4e-3)
