"""Fine detail and noise: a new face is no crisper than the picture it is put into, and no less noisy.

Detail is parted into octaves by Gaussian blurs. How soft a picture is shows at edges, where eyes, brows and lips are; how noisy it is
shows on bare skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from serve_app.vision.face import Floats, Mask, Pixels

_SIGMAS = (0.7, 1.4, 2.8)  # pixels
# The finest octave of a step that was blurred by so many pixels, as a share of the coarsest one.
_SOFTNESS = (0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_FINEST = (0.756, 0.550, 0.355, 0.236, 0.166, 0.120, 0.094, 0.079)
# Deviation of the two finer octaves of white noise; and how much of each, brought to 1, shows in the finest octave and in the second one.
_WHITE = np.array([0.721, 0.302])
_SHOWN = np.array([[0.82, 0.53], [0.22, 0.43]])
_ENOUGH = 0.9  # of the target's softness: detail also says who somebody is
_NEARLY = 1.15  # so much less noise is let be
_LEAST_BLUR, _LEAST_GRAIN, _MOST_GRAIN = 0.3, 0.5, 20.0  # pixels; levels
_BLOCK = 6  # pixels
_QUIET, _QUIETER = 15, 1.16  # per cent of the blocks; of even noise they show so much less
_FEWEST = 30  # pixels, or blocks, that say something


def matching(swapped: Floats, target: Pixels, skin: Floats, features: Floats) -> Floats:
    """(h, w) float32: what to add to the luminance of `swapped` so that it is as soft and as noisy as `target`.

    swapped, target: (h, w, 3) BGR in 0..255. skin, features: (h, w) in 0..1, where both show bare skin, and where lips, eyes and brows.
    """
    where = _Where(_blocks(skin, _BLOCK) > 0.9, features > 0.5, _blocks(features, 2) > 0.5)
    if min(np.count_nonzero(mask) for mask in (where.bare, where.drawn, where.half_drawn)) < _FEWEST:
        return np.zeros(skin.shape, np.float32)
    grey, goal = _grey(swapped), _Detail.of(_grey(target), where)
    detail = _Detail.of(grey, where)
    added = np.zeros(skin.shape, np.float32)
    blur = np.sqrt(max(0.0, (_ENOUGH * goal.softness) ** 2 - detail.softness**2))
    if blur > _LEAST_BLUR:
        softer = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur), np.float32)
        added, detail = softer - grey, _Detail.of(softer, where)
    missing = np.sqrt(np.maximum(0, goal.noise**2 - (_NEARLY * detail.noise) ** 2))
    if missing.max() > _LEAST_GRAIN:
        added += _grain(skin.shape, missing) * _evenness(goal)
    return added


@dataclass(frozen=True, slots=True, eq=False)
class _Where:
    """bare: blocks of skin. drawn: pixels of lips, eyes and brows. half_drawn: the same at half the size."""

    bare: Mask
    drawn: Mask
    half_drawn: Mask


@dataclass(frozen=True, slots=True, eq=False)
class _Detail:
    """softness: pixels by which the edges are blurred. noise: (2,), its deviation in the two finer octaves. finest: (h, w), that octave."""

    softness: float
    noise: Floats
    finest: Floats

    @classmethod
    def of(cls, grey: Floats, where: _Where) -> _Detail:
        fine, rest = _octaves(grey)
        noise = np.array([_noise(octave, where.bare) for octave in fine], np.float32)
        half = _blocks(rest, 2)  # there is nothing finer in it
        coarse = half - np.asarray(cv2.GaussianBlur(half, (0, 0), _SIGMAS[2] / 2), np.float32)
        finest = max(0.0, float(np.square(fine[0][where.drawn]).mean()) - float(noise[0]) ** 2)
        coarsest = max(1.0, float(np.square(coarse[where.half_drawn]).mean()))
        return cls(float(np.interp(-np.sqrt(finest / coarsest), np.negative(_FINEST), _SOFTNESS)), noise, fine[0])


def _evenness(detail: _Detail) -> Floats:
    """(h, w) in 0..1: less where there is less noise than on the skin as a whole, as in the dark of many a photograph."""
    near = cv2.blur(_blocks(detail.finest**2, _BLOCK), (3, 3))  # its running sums may end a little below 0
    share = np.minimum(np.sqrt(np.maximum(near, 0)) / max(float(detail.noise[0]), 0.1), 1)
    return np.asarray(cv2.resize(share, detail.finest.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _octaves(grey: Floats) -> tuple[list[Floats], Floats]:
    """The two finer octaves, and what is coarser."""
    octaves = []
    for sigma in _SIGMAS[:2]:
        coarser = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)
        octaves.append(grey - coarser)
        grey = coarser
    return octaves, grey


def _noise(octave: Floats, bare: Mask) -> float:
    """The deviation of noise: what even the quieter blocks of skin have."""
    return _QUIETER * float(np.sqrt(np.percentile(_blocks(octave * octave, _BLOCK)[bare], _QUIET)))


def _blocks(field: Floats, side: int) -> Floats:
    """Means of blocks of pixels."""
    height, width = field.shape
    return np.asarray(cv2.resize(field, (max(1, width // side), max(1, height // side)), interpolation=cv2.INTER_AREA), np.float32)


def _grain(shape: tuple[int, ...], missing: Floats) -> Floats:
    """Noise that shows as `missing` in the two finer octaves; the same for the same shape."""
    fine, coarse = np.linalg.solve(_SHOWN, missing)
    if coarse < 0:
        fine, coarse = missing[0] / _SHOWN[0, 0], 0.0
    elif fine < 0:  # of the coarse one so much that one octave shows as much too much as the other too little
        fine, coarse = 0.0, float(np.sqrt(np.prod(missing / _SHOWN[:, 1])))
    octaves, _ = _octaves(np.random.default_rng(0).standard_normal(shape, np.float32))
    amounts = np.minimum([fine, coarse], _MOST_GRAIN) / _WHITE
    return np.asarray(octaves[0] * np.float32(amounts[0]) + octaves[1] * np.float32(amounts[1]), np.float32)


def _grey(bgr: Floats | Pixels) -> Floats:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.float32)
