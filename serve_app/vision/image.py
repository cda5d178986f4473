"""Pictures in and out: bytes to BGR pixels and back, in the format they came in where that can be written.

Pixel values of RGB pictures are never converted between colour spaces: the colour profile goes out as it came in, so that
they keep their meaning. See decode.py and encode.py.
"""

from __future__ import annotations

import cv2
import numpy as np

from serve_app.vision.decode import decode
from serve_app.vision.encode import OUTPUTS, SIDES, Output, encode, output_of, too_long
from serve_app.vision.face import Frame, Pixels
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


def letterbox(bgr: Pixels, side: int) -> Frame:
    """A picture (H, W, 3) uint8 BGR in a frame whose longer side it fills."""
    height, width = bgr.shape[:2]
    scale = side / max(height, width)
    fitted = max(1, round(width * scale)), max(1, round(height * scale))
    if fitted == (width, height):
        return Frame(bgr, side, scale)
    inside = cv2.resize(bgr, fitted, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return Frame(np.asarray(inside, np.uint8), side, scale)
