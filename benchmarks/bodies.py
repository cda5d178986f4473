"""Bodies of submits, as files for the load's process."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from serve_app.vision.face import Pixels
from tests.pictures import ASTRONAUT, SIX_PEOPLE, data_url, head, jpeg, read
from tests.standins.painting import Spot, plant


def small(folder: Path, side: int = 256) -> list[str]:
    """Three pairs of square pictures."""
    target = resized(read(ASTRONAUT)[20:276, 96:352], side, side)
    return [_write(folder / f"small-{number}.json", jpeg(resized(head(number), side, side)), jpeg(target)) for number in range(3)]


def large(folder: Path, size: int = 400_000) -> list[str]:
    """Two pairs of photographs of about so many bytes each."""
    photographs = [of_size(read(SIX_PEOPLE), size), of_size(read(ASTRONAUT), size)]
    return [_write(folder / f"large-{number}.json", photographs[number], photographs[1 - number]) for number in range(2)]


def of_size(picture: Pixels, size: int) -> bytes:
    """A JPEG of quality 90 of about so many bytes: the photograph enlarged, with the grain of a camera."""
    scale, grain = 1.0, np.random.default_rng(0)
    for _ in range(8):
        height, width = (round(length * scale) for length in picture.shape[:2])
        noisy = resized(picture, width, height) + grain.normal(0, 3, (height, width, 3))
        data = bytes(cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1])
        if abs(len(data) / size - 1) < 0.05:
            break
        scale *= (size / len(data)) ** 0.5
    return data


def resized(picture: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _write(file: Path, source: bytes, target: bytes) -> str:
    file.write_text(json.dumps({"sourceBase64": data_url(source), "targetBase64": data_url(target)}))
    return str(file)


def planted(folder: Path, side: int) -> list[str]:
    """A pair of pictures with the faces that stand-ins of models see."""
    source, target = (jpeg(plant(resized(read(ASTRONAUT), side, side), [Spot(cell, size=5)])) for cell in ((20, 20), (18, 22)))
    return [_write(folder / "planted.json", source, target)]
