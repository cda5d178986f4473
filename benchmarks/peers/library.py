"""The insightface library as everyone writes it: FaceAnalysis.get for the source, INSwapper.get with its own paste-back, OpenCV around.

Kinder to the library than most code: the target's faces are only found, where `FaceAnalysis.get` would describe each of them as well.
Models are run with the library's own options: every core that ONNX Runtime sees.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import BaseModel

import serve_app  # noqa: F401  before insightface: keeps ONNX Runtime from writing an identity into the home directory
from serve_app.vision.face import Pixels

QUALITY = 95
REPORT = "x-report"  # the header in which a server says what it did
PACK = "pack"  # the folder with the two models of FaceAnalysis, which takes every file of a folder


class Pair(BaseModel):
    """The body of a request: that of POST /mj/insight-face/swap, so that all systems read the same bytes."""

    sourceBase64: str
    targetBase64: str

    def files(self) -> tuple[bytes, bytes]:
        return base64.b64decode(self.sourceBase64), base64.b64decode(self.targetBase64)


@dataclass(frozen=True, slots=True)
class Swapped:
    """A JPEG file, and what was done for it, as JSON: the boxes of both faces, and what this process has done so far."""

    data: bytes
    report: str


class Library:
    """folder: a stand-in's three files. Any number of threads may swap at a time, as the library allows it."""

    def __init__(self, folder: Path) -> None:
        from insightface.app import FaceAnalysis
        from insightface.model_zoo import get_model

        providers = ["CPUExecutionProvider"]
        self._faces = FaceAnalysis(name=str(_pack(folder)), providers=providers)
        self._faces.prepare(ctx_id=-1)
        self._swapper: Any = get_model(str(folder / "inswapper_128.onnx"), providers=providers)
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()
        self._count(self._faces.det_model, "detect", "detect")
        self._count(self._faces.models["recognition"], "get", "identify")
        self._count(self._swapper, "get", "swap")

    def swap(self, source: bytes, target: bytes) -> Swapped:
        """The largest face of one picture file on the largest one of the other."""
        giver = largest(self._faces.get(opened(source)))
        picture = opened(target)
        face = largest(self._found(picture))
        result = self._swapper.get(picture, face, giver, paste_back=True)
        _, data = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        boxes = {"source": giver.bbox.tolist(), "target": face.bbox.tolist()}
        return Swapped(data.tobytes(), json.dumps({**boxes, "process": os.getpid(), "done": dict(self._done)}))

    def _found(self, picture: Pixels) -> list[Any]:
        from insightface.app.common import Face

        boxes, points = self._faces.det_model.detect(picture)
        return [Face(bbox=box[:4], det_score=box[4], kps=kps) for box, kps in zip(boxes, points, strict=True)]

    def _count(self, model: Any, verb: str, name: str) -> None:
        act: Callable[..., Any] = getattr(model, verb)
        self._done[name] = 0

        def counted(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self._done[name] += 1
            return act(*arguments, **options)

        setattr(model, verb, counted)


def opened(data: bytes) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("no picture")
    return pixels.astype(np.uint8, copy=False)


def largest(faces: list[Any]) -> Any:
    return max(faces, key=lambda face: (face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1]))


def _pack(folder: Path) -> Path:
    pack = folder / PACK
    pack.mkdir(exist_ok=True)
    for name in ("det_10g.onnx", "w600k_r50.onnx"):
        if not (link := pack / name).exists():
            link.symlink_to(folder / name)
    return pack
