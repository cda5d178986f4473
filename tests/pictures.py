"""Pictures for tests: real faces that installed packages carry. None of them is in this repository."""

from __future__ import annotations

import base64
import importlib.util
from pathlib import Path

import cv2
import numpy as np

from serve_app.vision.face import Pixels


def _installed(package: str, *parts: str) -> Path:
    """A file of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


ASTRONAUT = _installed("skimage", "data", "astronaut.png")
HANKS = _installed("insightface", "data", "images", "Tom_Hanks_54745.png")
SIX_PEOPLE = _installed("insightface", "data", "images", "t1.jpg")

# Boxes (x1 y1 x2 y2) of the six faces of t1.jpg, from left to right.
SIX_FACES = (
    (60, 269, 169, 394),
    (274, 155, 371, 269),
    (464, 268, 571, 412),
    (746, 346, 847, 479),
    (903, 61, 1010, 203),
    (1135, 271, 1225, 394),
)


def read(path: Path) -> Pixels:
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return pixels.astype(np.uint8, copy=False)


ROOM = 70


def head(index: int) -> Pixels:
    """One of the six people of t1.jpg with some room around; that person's face is the largest in it."""
    (left, top), (_, _, x2, y2) = head_corner(index), SIX_FACES[index]
    return np.ascontiguousarray(read(SIX_PEOPLE)[top : y2 + ROOM, left : x2 + ROOM])


def head_corner(index: int) -> tuple[int, int]:
    """x and y in t1.jpg of the upper left pixel of `head(index)`."""
    x1, y1, _, _ = SIX_FACES[index]
    return max(0, x1 - ROOM), max(0, y1 - ROOM)


def png(pixels: Pixels) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


def jpeg(pixels: Pixels, quality: int = 95) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


GREY = png(np.full((64, 64, 3), 128, np.uint8))  # nobody is in it


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
