"""Where the library fails or makes a smear of a face: what the service answers instead."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from serve_app.vision.face import FaceError, Floats, Patch, Pixels
from tests.parity.ours import CROP, Ours
from tests.parity.reference import Reference
from tests.standins.painting import Spot, points

PICTURE = np.full((300, 400, 3), 90, np.uint8)
FACE: Floats = points(Spot((20, 15), 16, 3.0), PICTURE.shape).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Refusal:
    """fails: what the library does, by which one sees that the case is one. kept: whether the service keeps its word."""

    name: str
    fails: bool
    kept: bool


def refusals(reference: Reference, ours: Ours) -> Iterator[Refusal]:
    embedding = np.linspace(-1, 1, 512, dtype=np.float32)
    for shape in ((1, 1000, 3), (1000, 1, 3), (3, 2000, 3)):
        picture = np.full(shape, 90, np.uint8)
        fails = _raises(cv2.error, partial(reference.detect, picture, (640,)))
        yield Refusal(f"{shape[1]} x {shape[0]} pixels: no faces", fails, _no_faces(ours, picture))
    faces = {
        "a face wholly outside": FACE + np.float32(5000),
        "five times the same point": np.full((5, 2), 150, np.float32),
        "keypoints that are no numbers": np.where(np.arange(10).reshape(5, 2) == 3, np.float32(np.nan), FACE),
        "left and right exchanged": FACE[[1, 0, 2, 4, 3]],
    }
    for name, keypoints in faces.items():
        refused = _raises(FaceError, partial(ours.crop, PICTURE, keypoints, CROP))
        yield Refusal(name, _unusable(reference, keypoints, embedding), refused)
    matrix = ours.crop(PICTURE, FACE, CROP).matrix + np.array([[0, 0, 90_000], [0, 0, 0]])
    patch = Patch(np.full((CROP, CROP, 3), 200, np.uint8), np.full((CROP, CROP), 255, np.uint8))
    same = np.array_equal(ours.paste(PICTURE, [(patch, matrix)]), PICTURE)
    yield Refusal("a patch wholly outside changes nothing", True, same)


def _no_faces(ours: Ours, picture: Pixels) -> bool:
    try:
        return len(ours.detect((ours.letterbox(picture, 640),))) == 0
    except cv2.error:
        return False


def _unusable(reference: Reference, keypoints: Floats, embedding: Floats) -> bool:
    """The library raises, or its crop shows the face at less than half of its size, or nowhere."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="skimage|insightface|numpy")
        try:
            right, matrix = (reference.crop(PICTURE, points, CROP)[1] for points in (FACE, keypoints))
            size, usual = (np.sqrt(abs(np.linalg.det(m[:, :2]))) for m in (matrix, right))
            if size >= usual / 2:
                reference.paste(PICTURE, keypoints, embedding)
        except (ValueError, np.linalg.LinAlgError, cv2.error):
            return True
    return not size >= usual / 2  # nor where it is no number


def _raises(kind: type[Exception], act: Callable[[], object]) -> bool:
    try:
        act()
    except kind:
        return True
    return False
