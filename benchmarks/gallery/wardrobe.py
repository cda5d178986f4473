"""Real people with things painted before their faces, or in worse pictures."""

from __future__ import annotations

import cv2
import numpy as np

from serve_app.vision.face import Patch, Pixels
from serve_app.vision.paste import paste
from tests.gallery import Person
from tests.things import THINGS


def dressed(who: Person, wearing: str) -> Pixels:
    """The person's whole picture, with a thing of tests/things.py, "noise" or "blur"."""
    if wearing == "noise":
        noise = np.random.default_rng(3).normal(0, 9, (*who.picture.shape[:2], 1))
        return np.clip(who.picture + noise, 0, 255).astype(np.uint8)
    if wearing == "blur":
        return np.asarray(cv2.GaussianBlur(who.picture, (0, 0), 1.6), np.uint8)
    pixels, _ = THINGS[wearing](who)
    return paste(who.picture, [(Patch(pixels, np.full(pixels.shape[:2], 255, np.uint8)), who.matrix)])
