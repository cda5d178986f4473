"""SCRFD: faces and their five keypoints in a picture (Guo et al., "Sample and Computation Redistribution for Efficient Face
Detection", 2021). Frames, decoding and order are `insightface.model_zoo.SCRFD`'s; see vision/scrfd.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Unpack

import cv2
import numpy as np

from serve_app.engines.batches import by_first_axis
from serve_app.engines.choice import Judge, difference, probe_picture
from serve_app.engines.net import Net, Runs
from serve_app.engines.onnxfile import Signature, read_signature
from serve_app.engines.session import Array, first_line
from serve_app.vision.face import Faces, Floats, Frame
from serve_app.vision.scrfd import ANCHORS, STRIDES, Level, decode, merge

logger = logging.getLogger(__name__)

LEVELS = len(STRIDES)
WIDTHS = (1, 4, 10)  # values a candidate: score, box, five points
# What the net is shown for each of the 256 levels of a channel: the library's own arithmetic, done once.
_LEVELS: Floats = np.asarray(
    cv2.dnn.blobFromImage(np.arange(256, dtype=np.uint8)[None], 1.0 / 128.0, (256, 1), (127.5,)), np.float32
).ravel()
# Of a frame's black the net need be shown so many pixels, so that its own border is out of a face's sight; see docs/decisions/0048.
BLACK = 64
SIZES = 10  # every size that it is shown takes memory and time at its first run: sides grow in about so many steps
ALIKE = 0.03  # largest difference that the rest of the black may make. Measured: 0.003 to 0.007
BATCHED_RANK = 3  # (n, rows, width); the older export, in all published packs, has no axis for the batch


class SCRFDEngine:
    """Engine[tuple[Frame, ...], tuple[Floats, ...], list[list[Array]], Faces]: one picture in a frame of each size of `sizes`
    in, its faces out, in pixels of the picture, in the library's order.

    path: an SCRFD with three strides, two anchors and keypoints (det_10g, scrfd_*_bnkps), of either export. sizes: sides of
    frames; (640,) is enough but for faces that fill the picture, (128, 640), the library's default, finds these too; the
    candidates of all sizes go through one suppression. min_score, overlap: of candidates and of suppression. runs: see `Runs`.
    `exact` gives the library's very bits, whatever the batch. `fast` looks at less of a frame's black, where its session takes
    pictures of any size and says the same of them.
    Raises RuntimeError when the file is not such a model or cannot be run.
    """

    def __init__(
        self, path: Path, *, sizes: Sequence[int] = (640,), min_score: float = 0.5, overlap: float = 0.4, **runs: Unpack[Runs]
    ) -> None:
        if not sizes or any(side <= 0 or side % STRIDES[-1] for side in sizes) or len(set(sizes)) < len(sizes):
            raise ValueError(f"sizes must be different multiples of {STRIDES[-1]}, not {tuple(sizes)}")
        signature = check_signature(path)
        self.sizes = tuple(sizes)
        self._min_score, self._overlap = min_score, overlap
        self._input = signature.inputs[0].name
        self._dtype = np.dtype(signature.inputs[0].dtype)
        self._batched = len(signature.outputs[0].shape) == BATCHED_RANK
        self._nets = {side: self._net(path, side, runs) for side in self.sizes}
        self.buckets: tuple[int, ...] = self._nets[self.sizes[-1]].buckets
        self.slots = self._nets[self.sizes[-1]].slots

    def _net(self, path: Path, side: int, runs: Runs) -> Net:
        pictures = probe_picture({"": (2, side, side, 3)})[""]
        probes = [{self._input: self._blob(Frame(picture, side, 1.0), (side, side))} for picture in pictures]
        make = partial(Net, path, probes, JUDGE, side=side, split=self._split, **runs)
        if side < 4 * BLACK or runs.get("buckets", (1,)) != (1,):  # only pictures of one size can share a batch
            return make()
        net = make(any_size=True)
        return net if not net.any_size or self._answers_alike(net, side) else make()

    def _answers_alike(self, net: Net, side: int) -> bool:
        """Whether of long pictures the net says the same with all the black of their square and with less. A net that normalises over
        the whole picture does not."""
        for shape in ((side // 4, side), (side, side // 4)):
            frame = Frame(probe_picture({"": (1, *shape, 3)})[""][0], side, 1.0)
            size = shown(frame)
            try:
                less, square = (net.run([{self._input: self._blob(frame, each)}])[0] for each in (size, (side, side)))
                self._check(size, less)
                error = _error(less, cells(square, side, size))
            except Exception as failure:  # what a runtime raises for a shape that the graph cannot take has no common type
                logger.warning("the detector takes no picture of %d x %d, only squares (%s)", *size, first_line(failure))
                return False
            if not error <= ALIKE:
                logger.warning("the detector sees %d x %d otherwise than in a square (%.2g): it is shown squares", *size, error)
                return False
        return True

    def _size(self, frame: Frame) -> tuple[int, int]:
        """Height and width of what the net is shown of it."""
        return shown(frame) if self._nets[frame.side].any_size else (frame.side, frame.side)

    def warm_up(self) -> None:
        """Raises RuntimeError when the outputs are not those of such a model at one of the sizes."""
        for side, net in self._nets.items():
            net.warm_up(partial(self._check, (side, side)))

    def _check(self, size: tuple[int, int], outputs: Sequence[Array]) -> None:
        decode(levels(outputs), size, 1.0, self._min_score)

    def info(self) -> dict[str, str]:
        sizes = ", ".join(map(str, self.sizes))
        shorter = ", ".join(str(side) for side, net in self._nets.items() if net.any_size)
        return {"model": "SCRFD", "sizes": sizes, "with less black": shorter or "none", **self._nets[self.sizes[-1]].info}

    def pre(self, item: tuple[Frame, ...]) -> tuple[Floats, ...]:
        """(3, height, width) RGB of each frame. Raises ValueError when they are not frames of `sizes`."""
        for frame, side in zip(item, self.sizes, strict=True):
            _check_frame(frame, side)
        return tuple(self._blob(frame, self._size(frame)) for frame in item)

    def run(self, batch: Sequence[tuple[Floats, ...]]) -> list[list[list[Array]]]:
        by_frame = [net.run([{self._input: blobs[i]} for blobs in batch]) for i, net in enumerate(self._nets.values())]
        return [list(raws) for raws in zip(*by_frame, strict=True)]

    def post(self, item: tuple[Frame, ...], raw: Sequence[Sequence[Array]]) -> Faces:
        """Raises FaceError when the model's output is not finite."""
        each = zip(item, raw, strict=True)
        return merge([decode(levels(outputs), self._size(frame), frame.scale, self._min_score) for frame, outputs in each], self._overlap)

    def _split(self, outputs: Sequence[Array], count: int) -> list[list[Array]]:
        return by_first_axis(outputs if self._batched else [deinterleave(output, count) for output in outputs], count)

    def _blob(self, frame: Frame, size: tuple[int, int]) -> Floats:
        """(3, *size) RGB."""
        height, width = frame.inside.shape[:2]
        blob = np.empty((3, *size), np.float32)
        for plane, channel in zip(blob, reversed(cv2.split(frame.inside)), strict=True):
            cv2.LUT(channel, _LEVELS, dst=plane[:height, :width])
            plane[height:] = plane[:height, width:] = _LEVELS[0]
        return np.asarray(blob, self._dtype)


def shown(frame: Frame) -> tuple[int, int]:
    """Height and width of what of a frame is worth looking at: the picture, BLACK, and what makes up a whole step."""
    coarsest = STRIDES[-1]
    step = max(1, frame.side // SIZES // coarsest) * coarsest
    height, width = (min(frame.side, -(-(length + BLACK) // step) * step) for length in frame.inside.shape[:2])
    return height, width


def cells(outputs: Sequence[Array], side: int, size: tuple[int, int]) -> list[Array]:
    """Of a square's outputs the rows of its top left part of that size."""
    found = []
    for number, output in enumerate(outputs):
        stride = STRIDES[number % LEVELS]
        rows = output.reshape(side // stride, side // stride, ANCHORS, output.shape[-1])
        found.append(rows[: size[0] // stride, : size[1] // stride].reshape(-1, output.shape[-1]))
    return found


def _check_frame(frame: Frame, side: int) -> None:
    height, width, *_ = shape = frame.inside.shape
    if frame.side != side or frame.inside.dtype != np.uint8 or shape != (height, width, 3) or not 0 < max(height, width) <= side:
        raise ValueError(f"a frame of {side} pixels was expected, not {shape} {frame.inside.dtype} in one of {frame.side}")


def deinterleave(output: Array, count: int) -> Array:
    """(rows * n, width) of a batch of n, whose rows lie in the order y, x, item, anchor -> (n, rows, width)."""
    width = output.shape[1]
    return output.reshape(-1, count, ANCHORS, width).transpose(1, 0, 2, 3).reshape(count, -1, width)


def levels(outputs: Sequence[Array]) -> list[Level]:
    """One frame's outputs, scores of every stride, then boxes, then points, by stride instead; float32."""
    plain = [np.asarray(output, np.float32) for output in outputs]
    return [(plain[i], plain[i + LEVELS], plain[i + 2 * LEVELS]) for i in range(LEVELS)]


def check_signature(path: Path) -> Signature:
    """Raises RuntimeError unless the file is a detector that this engine knows."""
    signature = read_signature(path)
    if not is_detector(signature):
        raise RuntimeError(f"{path.name} is not an SCRFD face detector with keypoints: its signature is {signature}")
    return signature


def is_detector(signature: Signature) -> bool:
    """One picture in; scores, boxes and points of three strides out."""
    widths = [output.shape[-1] if output.shape else None for output in signature.outputs]
    expected = [width for width in WIDTHS for _ in STRIDES]
    return (
        signature.floats
        and len(signature.inputs) == 1
        and len(signature.inputs[0].shape) == 4
        and signature.inputs[0].shape[1] == 3
        and len(widths) == len(expected)
        and all(width in (None, wanted) for width, wanted in zip(widths, expected, strict=True))
    )


def _error(outputs: Sequence[Array], expected: Sequence[Array]) -> float:
    """Of scores the root mean square difference itself (nearly all are nearly 0), of distances relative to their size."""
    scores = max(float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2))) for a, b in zip(outputs[:LEVELS], expected[:LEVELS], strict=True))
    distances = difference(outputs[LEVELS:], expected[LEVELS:])
    return max(scores, distances) if np.isfinite(scores) else float("inf")


# Measured on random weights of the real size: f32 2e-6, bf16 2e-2; a wrong kernel or layout is near 1.
JUDGE = Judge(_error, {"f32": 1e-3, "bf16": 0.1})
