"""Heads cut out of pictures for people to look at."""

from __future__ import annotations

import cv2
import numpy as np

from serve_app.vision.face import Pixels
from tests.gallery import Person

ROOM = 1.9  # half of the side, in distances from the eyes to the mouth


def crop(picture: Pixels, who: Person, side: int) -> Pixels:
    """(side, side, 3) uint8 BGR: the same part of any picture in which that person's face is where it is in the person's own."""
    eyes, mouth = (who.keypoints[part].mean(0).astype(np.float64) for part in (slice(0, 2), slice(3, 5)))
    half = ROOM * float(np.linalg.norm(mouth - eyes))
    corner = 0.6 * eyes + 0.4 * mouth - half
    scale = side / (2 * half)
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), flags=how, borderValue=(235, 235, 235)), np.uint8)
