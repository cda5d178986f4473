"""Giving one face the colours and the light of another. All fields are of working size, L*a*b* float32, L in 0..100."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from serve_app.vision.face import Floats, Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """(h, w) float32 masks in 0..1 that say how a pixel of the face is treated.

    seen: where the swapped face shows. skin: the same without lips, eyes and brows. wet: eyes and the inside of the mouth, which
    the skin's tint is kept off. teeth: the inside of the mouth. features: lips, eyes and brows. rim: all but the
    middle of the face.
    """

    seen: Floats
    skin: Floats
    wet: Floats
    teeth: Floats
    features: Floats
    rim: Floats

    def within(self, seen: Floats) -> Regions:
        """The same regions of a face that shows through `seen` only."""
        return replace(self, seen=self.seen * seen, skin=self.skin * seen)


def match(source: Floats, target: Floats, regions: Regions, size: float, light: float) -> Floats:
    """The source's face with the target's colours. source, target: (h, w, 3) L*a*b* of the same place; size: of the face in pixels.

    light: 0 to 1, how much of the target's shading is laid over the source's own.
    """
    own, other = _Statistics.of(source, regions.skin), _Statistics.of(target, regions.skin)
    lightness = _lightness(source[..., 0], own, other)
    lightness *= _shade(lightness, target[..., 0], regions, size, light)
    dimmed = _limit_highlights(lightness, target[..., 0], regions, float(other.mean[0]), size)
    bleached: Floats = np.clip((lightness - dimmed) / np.float32(10), 0, 1)
    dimmed += _seam(dimmed, target[..., 0], regions, size)
    share = _tint_share(source[..., 0], own.mean[0], regions.wet)
    tint = _tint(source, dimmed, own, other, share, bleached)
    matt = regions.skin * (1 - np.float32(0.95) * _highlights(target[..., 0], regions.skin))
    tint += np.float32(0.9) * share[..., None] * np.clip(low_pass(target[..., 1:] - tint, matt, 0.10 * size), -24, 24)
    _no_paler(tint, target[..., 1:], regions.skin)
    return np.concatenate([dimmed[..., None], tint], 2)


def colourful(lab: Floats) -> float:
    """0 for a picture in one tint, as black and white or sepia are, 1 for an ordinary photograph."""
    everywhere = np.ones(lab.shape[:2], np.float32)
    apart = lab[..., 1:] - _Statistics.of(lab, everywhere).expected(lab[..., 0])
    return float(np.clip((np.percentile(np.hypot(apart[..., 0], apart[..., 1]), 90) - 3) / 3, 0, 1))


def faded(pixels: Pixels, share: float) -> Pixels:
    """BGR pixels with that share of their colours; 0 is grey."""
    if share >= 1:
        return pixels
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.addWeighted(pixels, share, grey, 1 - share, 0), np.uint8)


def usable(source: Floats, target: Floats, regions: Regions, size: float) -> Floats:
    """(h, w): falls to zero outside the face's middle where the source lies in a shadow so deep that brightening it shows only noise."""
    own, other = _Statistics.of(source, regions.skin), _Statistics.of(target, regions.skin)
    pair = np.stack([_lightness(source[..., 0], own, other), target[..., 0]], 2)
    mean = low_pass(pair, regions.skin, 0.045 * size)
    needed = (mean[..., 1] + 4) / (np.maximum(mean[..., 0], 0) + 4)
    share: Floats = 1 - regions.rim * np.clip((needed - 1.12) / 0.3, 0, 1)
    return share


def continued(bgr: Floats, other: Floats, weight: Floats, size: float) -> Floats:
    """(h, w): the factor that gives `other`, skin of the face's other half, the light that falls on the skin beside it.

    bgr, other: (h, w, 4), colour in 0..1 and a mask of skin. weight: (h, w), where `bgr` is to be seen.
    """
    here = low_pass(_grey(bgr), bgr[..., 3] * weight, 0.12 * size, 1e-4)
    there = low_pass(_grey(other), other[..., 3], 0.12 * size, 1e-4)
    factor: Floats = np.clip((here + np.float32(0.02)) / (there + np.float32(0.02)), 0.6, 2.0)[..., 0]
    return factor


def _grey(bgr: Floats) -> Floats:
    """(h, w, 1)"""
    return np.asarray(cv2.cvtColor(bgr[..., :3], cv2.COLOR_BGR2GRAY), np.float32)[..., None]


@dataclass(frozen=True, slots=True, eq=False)
class _Statistics:
    """mean and deviation of L, a and b, weighted by a mask; slope: how a and b change with L."""

    mean: Floats
    deviation: Floats
    slope: Floats

    @classmethod
    def of(cls, lab: Floats, weight: Floats) -> _Statistics:
        values, share = lab.reshape(-1, 3).astype(np.float64), weight.ravel().astype(np.float64)
        total = float(share.sum()) + 1e-6
        mean = np.einsum("nc,n->c", values, share) / total
        values -= mean
        variance = np.einsum("nc,nc,n->c", values, values, share) / total
        covariance = np.einsum("nc,n,n->c", values[:, 1:], values[:, 0], share) / total
        slope = np.clip(covariance / (variance[0] + 4), -1.5, 1.5)
        return cls(mean.astype(np.float32), np.sqrt(variance).astype(np.float32), slope.astype(np.float32))

    def expected(self, lightness: Floats) -> Floats:
        """(h, w, 2): the a and b that skin of this lightness has."""
        reach = 2 * self.deviation[0]
        wanted: Floats = self.mean[1:] + self.slope * np.clip(lightness - self.mean[0], -reach, reach)[..., None]
        return wanted


def _lightness(lightness: Floats, own: _Statistics, other: _Statistics) -> Floats:
    """Mean and deviation brought to the other's, after Reinhard et al. (2001); light works as a factor, so that black stays black."""
    gain = np.clip(other.deviation[0] / (own.deviation[0] + np.float32(1e-3)), 0.92, 1.15)
    level, goal = max(float(own.mean[0]), 1.0), max(float(other.mean[0]), 1.0)
    deep = np.clip((level - lightness) / (own.deviation[0] + np.float32(1e-3)) / np.float32(1.5) - np.float32(0.7), 0, 1)
    contrast = np.where(lightness < level, gain * (1 - deep) + deep, gain) * np.float32(np.clip(level / goal, 0.85, 1.15))
    moved: Floats = np.float32(goal) * (1 + (lightness / np.float32(level) - 1) * contrast)
    return moved


def _shade(lightness: Floats, target: Floats, regions: Regions, size: float, light: float) -> Floats:
    """A factor that lays the target's shading on: broad in the middle of the face, finer around it, for the outline is the target's."""
    pair = np.stack([lightness, target], 2)
    broad, fine = low_pass(pair, regions.skin, 0.17 * size), low_pass(pair, regions.skin, 0.07 * size)
    factors = [np.clip((mean[..., 1] + 4) / (np.maximum(mean[..., 0], 0) + 4), 0.5, limit) for mean, limit in ((broad, 1.5), (fine, 2.0))]
    middle = np.float32(light) * (factors[0] - 1)
    shade: Floats = 1 + middle + regions.rim * (factors[1] - 1 - middle)
    return shade


def _limit_highlights(lightness: Floats, target: Floats, regions: Regions, level: float, size: float) -> Floats:
    """A soft knee: nothing but teeth shines brighter than the target's highlights, nor much brighter than the target's skin
    thereabouts, and no white of an eye much more than its mean."""
    knee, top = _percentiles(target, regions.skin, (93, 99.8), (100.0, 100.0))
    eyes = np.clip(regions.wet - regions.teeth, 0, 1)
    around = low_pass(target[..., None], regions.skin, 0.1 * size)[..., 0]
    start = np.minimum(np.float32(knee), around + 8)
    start -= eyes * np.maximum(start - np.float32(level), 0)
    room = np.maximum(np.minimum(np.float32(top), around + 20) - start, 6)
    above = lightness - start
    limited: Floats = np.where((above > 0) & (regions.teeth < 0.5), start + room * np.tanh(above / room), lightness)
    return limited


def _seam(lightness: Floats, target: Floats, regions: Regions, size: float) -> Floats:
    """What lightness still differs along the seam, spread inwards: a cheap kind of gradient-domain cloning."""
    step = target - lightness
    band = 4 * regions.seen * (1 - regions.seen) * (regions.features < 0.5) * (np.abs(step) < 25)
    spread: Floats = np.clip(low_pass(step[..., None], band, 0.04 * size, 0.12), -10, 10)[..., 0]
    return spread


def _tint_share(lightness: Floats, mean: np.float32, wet: Floats) -> Floats:
    """How much of the skin's tint a pixel takes: less over eyes and teeth, less on dark hairs."""
    share: Floats = (1 - np.float32(0.3) * wet) * np.clip(lightness / max(float(mean), 1.0) + np.float32(0.35), 0.6, 1)
    return share


def _tint(source: Floats, lightness: Floats, own: _Statistics, other: _Statistics, share: Floats, bleached: Floats) -> Floats:
    """(h, w, 2): a and b of the source's pixels as skin of the target's kind would have them at their new lightness."""
    gain = np.clip(other.deviation[1:] / (own.deviation[1:] + np.float32(1e-3)), 0.45, 1.15)
    apart = (source[..., 1:] - own.expected(source[..., 0])) * gain  # what sets a pixel apart from skin: lips, freckles, irises
    apart *= 1 - bleached[..., None]  # a dimmed highlight must not turn grey
    wanted = other.expected(lightness) + apart
    tint: Floats = source[..., 1:] + share[..., None] * (wanted - source[..., 1:])
    return tint


def _no_paler(tint: Floats, target: Floats, skin: Floats) -> None:
    """Keeps skin from going further towards blue or green than the target's skin goes, in place."""
    seen = target[skin > 0.5]
    if len(seen) > 20:
        tint += skin[..., None] * np.maximum(np.percentile(seen, 10, axis=0).astype(np.float32) - tint, 0)


def _highlights(lightness: Floats, weight: Floats) -> Floats:
    """How much of a pixel is glare, which carries no tint of skin."""
    high, highest = _percentiles(lightness, weight, (75, 95), (90.0, 100.0))
    glare: Floats = np.clip((lightness - high) / max(highest - high, 1), 0, 1)
    return glare


def low_pass(field: Floats, weight: Floats, sigma: float, floor: float = 0.02) -> Floats:
    """(h, w, c): the weighted mean of the surroundings, falling to zero where there is no weight within reach."""
    height, width = weight.shape
    factor = max(1, int(sigma / 4))  # low frequencies need few pixels
    small = (max(8, width // factor), max(8, height // factor))
    stack = np.concatenate([field * weight[..., None], weight[..., None]], 2)
    if factor > 1:
        stack = cv2.resize(stack, small, interpolation=cv2.INTER_AREA)
    stack = cv2.GaussianBlur(stack, (0, 0), sigma / factor, borderType=cv2.BORDER_CONSTANT)
    mean = np.ascontiguousarray(stack[..., :-1] / (stack[..., -1:] + np.float32(floor)))
    if factor > 1:
        mean = np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_CUBIC)).reshape(height, width, -1)
    return np.asarray(mean, np.float32)


def _percentiles(field: Floats, weight: Floats, which: tuple[float, float], otherwise: tuple[float, float]) -> tuple[float, float]:
    values = field[weight > 0.5]
    if len(values) <= 20:
        return otherwise
    low, high = np.percentile(values, which)
    return float(low), float(high)


def local_affine(before: Floats, after: Floats, radius: int, stiffness: float = 4e-4) -> tuple[Floats, Floats]:
    """Gain and offset fields, (h, w, 3) each, with after = gain * before + offset about every pixel, channel by channel.

    They bring a change made at working size to the full-size picture (the fast guided filter, He and Sun 2015), except that a flat
    place takes the ratio of the means as its gain, so that detail too fine for the working size keeps its contrast.
    """
    window = (2 * radius + 1, 2 * radius + 1)
    mean_before, mean_after = cv2.blur(before, window), cv2.blur(after, window)
    variance = cv2.blur(before * before, window) - mean_before * mean_before
    covariance = cv2.blur(before * after, window) - mean_before * mean_after
    ratio = (mean_after + np.float32(0.02)) / (mean_before + np.float32(0.02))
    soft = np.float32(stiffness)
    gain = np.clip((covariance + soft * ratio) / (np.maximum(variance, 0) + soft), 0.25, 3)
    offset = mean_after - gain * mean_before
    return np.asarray(cv2.blur(gain, window), np.float32), np.asarray(cv2.blur(offset, window), np.float32)
