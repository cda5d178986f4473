"""Pictures in and out: bytes to BGR pixels and back, in the format they came in where that can be written.

Pixel values of RGB pictures are never converted between colour spaces: the colour profile goes out as it came in, so that
they keep their meaning. See decode.py and encode.py.
"""

from __future__ import annotations

import cv2
import numpy as np

from serve_app.vision.decode import decode
from serve_app.vision.encode import OUTPUTS, SIDES, Output, encode, output_of, too_long
from serve_app.vision.face import Pixels
from serve_app.vision.header import Header, ImageError, probe
from serve_app.vision.picture import Note, Picture

__all__ = [
    "OUTPUTS",
    "SIDES",
    "Header",
    "ImageError",
    "Note",
    "Output",
    "Picture",
    "decode",
    "encode",
    "letterbox",
    "output_of",
    "probe",
    "too_long",
]


def letterbox(bgr: Pixels, size: int) -> tuple[Pixels, float]:
    """Fit a picture (H, W, 3) into the top left of a black square. Returns ((size, size, 3) uint8, canvas pixels per picture pixel)."""
    height, width = bgr.shape[:2]
    scale = size / max(height, width)
    fitted = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.zeros((size, size, 3), np.uint8)
    inside = canvas[: fitted[1], : fitted[0]]
    if fitted == (width, height):
        inside[:] = bgr
    else:
        cv2.resize(bgr, fitted, dst=inside, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return canvas, scale
