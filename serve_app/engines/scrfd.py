"""SCRFD: faces and their five keypoints in a picture (Guo et al., "Sample and Computation Redistribution for Efficient Face
Detection", 2021). Frames, decoding and order are `insightface.model_zoo.SCRFD`'s; see vision/scrfd.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from serve_app.engines.batches import by_first_axis, check_buckets, run_items, settle
from serve_app.engines.choice import Judge, Precision, difference, open_session, probe_picture
from serve_app.engines.onnxfile import Signature, read_signature, reshaped
from serve_app.engines.pictures import check_picture
from serve_app.engines.session import CPU, Array
from serve_app.vision.face import Faces, Floats, Frame, Pixels
from serve_app.vision.scrfd import ANCHORS, STRIDES, Level, decode, merge

LEVELS = len(STRIDES)
WIDTHS = (1, 4, 10)  # values a candidate: score, box, five points
MEAN, STD = 127.5, 128.0
BATCHED_RANK = 3  # (n, rows, width); the older export, in all published packs, has no axis for the batch


class SCRFDEngine:
    """Engine[tuple[Frame, ...], tuple[Floats, ...], list[list[Array]], Faces]: one picture in a frame of each size of `sizes`
    in, its faces out, in pixels of the picture, in the library's order.

    path: an SCRFD with three strides, two anchors and keypoints (det_10g, scrfd_*_bnkps), of either export. sizes: sides of
    frames; (640,) is enough but for faces that fill the picture, (128, 640), the library's default, finds these too; the
    candidates of all sizes go through one suppression. min_score, overlap: of candidates and of suppression. threads: of
    one run; slots: runs at a time. buckets: batch sizes to try, ascending from 1, a batch is of frames of one size; those
    that do not give each frame what it gets alone are dropped, and on a CPU (`measure`) those that are not faster a frame.
    ONNX Runtime picks other kernels for a shape that it knows: `exact` gives the library's very bits, which fixes every size,
    with the one bucket 1; with more they are a rounding apart (1e-6 of a cell), the same for any company.
    Raises RuntimeError when the file is not such a model.
    """

    def __init__(
        self,
        path: Path,
        *,
        sizes: Sequence[int] = (640,),
        precision: Precision = "fast",
        threads: int = 2,
        slots: int = 1,
        min_score: float = 0.5,
        overlap: float = 0.4,
        buckets: tuple[int, ...] = (1,),
        measure: bool = True,
        provider: str = CPU,
    ) -> None:
        if not sizes or any(side <= 0 or side % STRIDES[-1] for side in sizes) or len(set(sizes)) < len(sizes):
            raise ValueError(f"sizes must be different multiples of {STRIDES[-1]}, not {tuple(sizes)}")
        check_buckets(buckets)
        signature = check_signature(path)
        self.slots = slots
        self.sizes = tuple(sizes)
        self._min_score, self._overlap = min_score, overlap
        self._input = signature.inputs[0].name
        self._dtype = np.dtype(signature.inputs[0].dtype)
        self._batched = len(signature.outputs[0].shape) == BATCHED_RANK
        batch = None if buckets[-1] > 1 else 1
        self._sessions = {}
        self._buckets = {}
        for side in self.sizes:
            probes = self._probes(side)
            session = open_session(
                path,
                {self._input: (3, side, side)},
                precision=precision,
                threads=threads,
                slots=slots,
                buckets=buckets,
                allow_bf16=True,
                provider=provider,
                model=partial(reshaped, path, batch=batch, side=side),
                probe={self._input: probes[0][None]},
                judge=JUDGE,
            )
            self._sessions[side] = session
            items = [{self._input: probe} for probe in probes]
            self._buckets[side] = settle(session, items, buckets, self._split, measure=measure and provider == CPU)
        self.buckets: tuple[int, ...] = self._buckets[self.sizes[-1]]

    def warm_up(self) -> None:
        """Raises RuntimeError when the outputs are not those of such a model at one of the sizes."""
        for side in self.sizes:
            for bucket in self._buckets[side]:
                for raw in self._run(side, [self._probes(side)[0]] * bucket):
                    try:
                        decode(levels(raw), side, 1.0, self._min_score)
                    except Exception as error:
                        raise RuntimeError(f"the face detector does not work on this machine: {error}") from error

    def info(self) -> dict[str, str]:
        sizes = ", ".join(map(str, self.sizes))
        return {"model": "SCRFD", "sizes": sizes, "slots": str(self.slots), **self._sessions[self.sizes[-1]].info}

    def pre(self, item: tuple[Frame, ...]) -> tuple[Floats, ...]:
        """(3, side, side) RGB of each frame. Raises ValueError when they are not frames of `sizes`."""
        for frame, side in zip(item, self.sizes, strict=True):
            check_picture(frame.pixels, side)
        return tuple(self._blob(frame.pixels) for frame in item)

    def run(self, batch: Sequence[tuple[Floats, ...]]) -> list[list[list[Array]]]:
        by_size = [self._run(side, [blobs[i] for blobs in batch]) for i, side in enumerate(self.sizes)]
        return [list(raws) for raws in zip(*by_size, strict=True)]

    def post(self, item: tuple[Frame, ...], raw: Sequence[Sequence[Array]]) -> Faces:
        """Raises FaceError when the model's output is not finite."""
        each = zip(item, raw, self.sizes, strict=True)
        return merge([decode(levels(outputs), side, frame.scale, self._min_score) for frame, outputs, side in each], self._overlap)

    def _run(self, side: int, blobs: Sequence[Floats]) -> list[list[Array]]:
        return run_items(self._sessions[side], [{self._input: blob} for blob in blobs], self._buckets[side], self._split)

    def _split(self, outputs: Sequence[Array], count: int) -> list[list[Array]]:
        return by_first_axis(outputs if self._batched else [deinterleave(output, count) for output in outputs], count)

    def _blob(self, pixels: Pixels) -> Floats:
        blob = cv2.dnn.blobFromImage(pixels, 1.0 / STD, pixels.shape[1::-1], (MEAN, MEAN, MEAN), swapRB=True)
        return np.asarray(blob[0], self._dtype)

    def _probes(self, side: int) -> list[Floats]:
        return [self._blob(picture) for picture in probe_picture({"": (2, side, side, 3)})[""]]


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
        len(signature.inputs) == 1
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
