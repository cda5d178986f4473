"""Random pictures with planted faces, the same for the same seed: small and large, long and wide, with 0 to 40 faces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from serve_app.vision.face import Floats, Pixels
from tests.pictures import SIX_PEOPLE, read
from tests.standins.painting import plant, scatter

SIDES = (128, 640)
SMALLEST, LARGE, HUGE = 48, 1400, 4200
SHARE_HUGE, SHARE_MOVED = 0.02, 0.4


@dataclass(frozen=True, slots=True)
class Case:
    """picture: (H, W, 3) uint8 BGR. stranger: an aligned crop (112, 112, 3) of the person to put in. random: for what else is drawn."""

    name: str
    picture: Pixels
    stranger: Pixels
    random: np.random.Generator

    def chosen(self, keypoints: Floats, most: int) -> list[Floats]:
        """Up to `most` of the faces, (5, 2) float32 each, in random order, some of them moved towards and beyond the border."""
        order = self.random.permutation(len(keypoints))[:most]
        return [self._moved(keypoints[index]) for index in order]

    def _moved(self, points: Floats) -> Floats:
        if self.random.random() > SHARE_MOVED:
            return points
        height, width = self.picture.shape[:2]
        reach = float(np.ptp(points, 0).max()) * 2
        goal = self.random.uniform((-reach, -reach), (width + reach, height + reach))
        axis = self.random.integers(2)  # towards one border at least
        goal[axis] = self.random.choice([0, (width, height)[axis]]) + self.random.uniform(-reach, reach)
        return np.asarray(points + (goal - points.mean(0)), np.float32)


def case(seed: int, *, largest: int = LARGE) -> Case:
    random = np.random.default_rng([2026, seed])
    top = HUGE if largest == LARGE and random.random() < SHARE_HUGE else largest
    height, width = (int(side) for side in np.exp(random.uniform(np.log(SMALLEST), np.log(top), 2)))
    spots = scatter(random, (height, width), _count(random), side=int(random.choice(SIDES, p=(0.25, 0.75))), apart=bool(random.integers(2)))
    stranger = cv2.resize(random.integers(0, 256, (7, 7, 3), np.uint8), (112, 112), interpolation=cv2.INTER_CUBIC)
    name = f"seed {seed}: {width} x {height}, {len(spots)} planted"
    return Case(name, plant(_background(random, height, width), spots), np.asarray(stranger, np.uint8), random)


def _count(random: np.random.Generator) -> int:
    low, high = [(0, 0), (1, 1), (2, 2), (3, 11), (12, 40)][int(random.choice(5, p=(0.1, 0.25, 0.15, 0.3, 0.2)))]
    return int(random.integers(low, high + 1))


def _background(random: np.random.Generator, height: int, width: int) -> Pixels:
    size = (width, height)
    match int(random.integers(4)):
        case 0:
            return random.integers(0, 256, (height, width, 3), np.uint8)
        case 1:
            return np.asarray(cv2.resize(read(SIX_PEOPLE), size), np.uint8)
        case 2:
            return np.asarray(cv2.resize(random.integers(0, 256, (5, 5, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC), np.uint8)
        case _:
            return np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
