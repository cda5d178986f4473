"""The built-in nets and real faces for them, made once a test run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from serve_app.engines import weights
from serve_app.engines.centerface import CenterFaceEngine
from serve_app.engines.choice import Precision
from serve_app.engines.facemesh import FaceMeshEngine
from serve_app.vision.face import Faces, FaceSquare, Pixels
from tests.pictures import ASTRONAUT, HANKS, SIX_PEOPLE, read

FRAME = 640


@cache
def builtin() -> Path:
    """The folder of the built-in models; fetched on a machine's first run only."""
    folder = Path(__file__).resolve().parents[2] / "models" / "builtin"
    weights.prepare(folder)
    return folder


@cache
def detector(precision: Precision = "fast", slots: int = 1) -> CenterFaceEngine:
    return CenterFaceEngine(builtin() / weights.CENTERFACE, precision=precision, slots=slots)


@cache
def mesher(precision: Precision = "fast") -> FaceMeshEngine:
    return FaceMeshEngine(builtin() / weights.FACEMESH, precision=precision)


def framed(picture: Pixels) -> tuple[Pixels, float]:
    """The picture in the upper left of a frame, and how much it was scaled."""
    scale = FRAME / max(picture.shape[:2])
    height, width = (round(side * scale) for side in picture.shape[:2])
    frame = np.zeros((FRAME, FRAME, 3), np.uint8)
    frame[:height, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return frame, scale


def found(picture: Pixels, precision: Precision = "fast") -> Faces:
    """The picture's faces in its own pixels."""
    frame, scale = framed(picture)
    engine = detector(precision)
    return engine.post(frame, engine.run([engine.pre(frame)])[0]).scaled(1 / scale)


@cache
def squares() -> tuple[FaceSquare, ...]:
    """All eight real faces: six of one picture, an astronaut, an actor close up. Found by the exact detector."""
    return tuple(square for path in (SIX_PEOPLE, ASTRONAUT, HANKS) for square in squares_of(read(path)))


def squares_of(picture: Pixels) -> list[FaceSquare]:
    faces, border = found(picture, "exact"), max(picture.shape)
    wide = cv2.copyMakeBorder(picture, border, border, border, border, cv2.BORDER_REPLICATE)
    result = []
    for box, keypoints in zip(faces.boxes, faces.keypoints, strict=True):
        side = int(1.8 * (box[2:] - box[:2]).max())
        x, y = (int(middle - side / 2) for middle in (box[:2] + box[2:]) / 2)
        pixels = np.ascontiguousarray(wide[y + border : y + border + side, x + border : x + border + side], np.uint8)
        pixels.flags.writeable = False  # as Ray hands them over
        result.append(FaceSquare(pixels, (keypoints - (x, y)).astype(np.float32)))
    return result
