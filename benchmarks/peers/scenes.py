"""The pictures of the comparison: 1920 x 1080 photographs, each with the one face of 300 pixels that every stand-in finds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
import pybase64

from serve_app.vision.face import Pixels
from tests.pictures import SIX_PEOPLE, jpeg, read
from tests.standins.painting import Spot, plant

WIDTH, HEIGHT = 1920, 1080
STRIDE, SIZE = 16, 3.125  # 300 pixels across the box
PLACES = ((17, 11), (12, 8), (24, 10), (28, 13), (9, 12), (20, 7))
REPEATED = 2  # sources, where they repeat


def pictures(count: int, seed: int) -> list[Pixels]:
    """(1080, 1920, 3) BGR: the same photograph at other exposures, with faces of other colours and angles in other places."""
    random = np.random.default_rng(seed)
    photo = np.asarray(cv2.resize(read(SIX_PEOPLE), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    found = []
    for number in range(count):
        blue, green, red = (int(value) for value in random.integers(40, 200, 3))
        spot = Spot(PLACES[(number + seed) % len(PLACES)], STRIDE, SIZE, float(random.uniform(-0.4, 0.4)), (blue, green, red))
        found.append(plant(cv2.convertScaleAbs(photo, alpha=float(random.uniform(0.6, 1.0))).astype(np.uint8), [spot]))
    return found


class Bodies:
    """Requests of a swap, one after the other, without an end. repeated: their sources are REPEATED files in turn, else each is another."""

    def __init__(self, *, repeated: bool) -> None:
        self.sources = REPEATED if repeated else None
        self._files = [jpeg(picture) for picture in pictures(REPEATED, 1)]
        self._targets = [pybase64.b64encode(jpeg(picture)) for picture in pictures(len(PLACES), 2)]
        self._numbers = itertools.count()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        number = next(self._numbers)
        source = self._files[number % REPEATED]
        if self.sources is None:
            source = told(source, f"source {number}")
        return b'{"sourceBase64":"%b","targetBase64":"%b"}' % (pybase64.b64encode(source), self._targets[number % len(self._targets)])


def told(file: bytes, remark: str) -> bytes:
    """A JPEG file with a comment: other bytes, the same pixels."""
    text = remark.encode()
    return file[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + file[2:]
