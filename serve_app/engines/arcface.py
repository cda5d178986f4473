"""ArcFace: who a face is, as 512 numbers (Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019).
Input and output are those of `insightface.model_zoo.ArcFaceONNX`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import cv2
import numpy as np

from serve_app.engines.choice import Judge, probe_picture
from serve_app.engines.net import Net, Runs
from serve_app.engines.onnxfile import Signature, read_signature
from serve_app.engines.pictures import check_picture
from serve_app.engines.session import Array
from serve_app.vision.face import FaceError, FaceSquare, Floats, Pixels

SIDE = 112
EMBEDDING = 512
_FIRST_NODES = 8


class ArcFaceEngine:
    """Engine[FaceSquare, Floats, Array, Floats]: an aligned crop (112, 112, 3) uint8 BGR in, its embedding (512,) float32
    out, raw as the model gives it, not of length 1.

    path: w600k_r50 or another recogniser of that signature; only w600k_r50's embeddings mean anything to inswapper_128.
    runs: see `Runs`. Raises RuntimeError when the file is no such model or cannot be run.
    """

    def __init__(self, path: Path, **runs: Unpack[Runs]) -> None:
        signature = check_signature(path)
        self._input = signature.inputs[0].name
        self._dtype = np.dtype(signature.inputs[0].dtype)
        self._mean, self._std = normalisation(signature)
        probes = [{self._input: self._blob(picture)} for picture in probe_picture({"": (2, SIDE, SIDE, 3)})[""]]
        self._net = Net(path, probes, JUDGE, **runs)
        self.buckets, self.slots = self._net.buckets, self._net.slots

    def warm_up(self) -> None:
        self._net.warm_up(_check)

    def info(self) -> dict[str, str]:
        return {"model": "ArcFace", **self._net.info}

    def pre(self, item: FaceSquare) -> Floats:
        """(3, 112, 112) RGB. Raises ValueError unless the crop is what it should be."""
        check_picture(item.pixels, SIDE)
        return self._blob(item.pixels)

    def run(self, batch: Sequence[Floats]) -> list[Array]:
        return [outputs[0] for outputs in self._net.run([{self._input: blob} for blob in batch])]

    def post(self, item: FaceSquare, raw: Array) -> Floats:
        """Raises FaceError when the embedding is not finite, or nothing at all."""
        embedding = np.array(raw, np.float32)
        if not _usable(embedding):
            raise FaceError("The face could not be described. Use a picture that shows it more clearly.")
        return embedding

    def _blob(self, pixels: Pixels) -> Floats:
        mean = (self._mean, self._mean, self._mean)
        blob = cv2.dnn.blobFromImage(pixels, 1.0 / self._std, (SIDE, SIDE), mean, swapRB=True)
        return np.asarray(blob[0], self._dtype)


def check_signature(path: Path) -> Signature:
    """Raises RuntimeError unless the file is a recogniser that this engine knows."""
    signature = read_signature(path)
    if not is_recogniser(signature):
        raise RuntimeError(f"{path.name} is not an ArcFace recogniser: its signature is {signature}")
    return signature


def is_recogniser(signature: Signature) -> bool:
    """A picture of 112 x 112 in, 512 numbers out."""
    return (
        signature.floats
        and len(signature.inputs) == len(signature.outputs) == 1
        and signature.inputs[0].shape[1:] == (3, SIDE, SIDE)
        and signature.outputs[0].shape[-1:] in ((EMBEDDING,), (None,))
    )


def normalisation(signature: Signature) -> tuple[float, float]:
    """Mean and divisor of the pixels: none where the graph begins with its own, as MXNet's exports do and the library guesses."""
    names = signature.nodes[:_FIRST_NODES]
    own = any(name.startswith(("Sub", "_minus")) for name in names) and any(name.startswith(("Mul", "_mul")) for name in names)
    return (0.0, 1.0) if own else (127.5, 127.5)


def _usable(embedding: Array) -> bool:
    return bool(np.isfinite(embedding).all() and embedding.any())


def _check(outputs: Sequence[Array]) -> None:
    if outputs[0].shape != (EMBEDDING,) or not _usable(outputs[0]):
        raise ValueError("its answer is no embedding")


def _error(outputs: Sequence[Array], expected: Sequence[Array]) -> float:
    """1 - cosine of the least alike."""
    worst = 0.0
    for a, b in zip(outputs[0].astype(np.float64), expected[0].astype(np.float64), strict=True):
        cosine = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
        worst = max(worst, 1 - cosine) if np.isfinite(cosine) else float("inf")
    return worst


# Two pictures of one person differ by 0.3 and more; what is allowed here moves no decision.
JUDGE = Judge(_error, {"f32": 1e-6, "bf16": 1e-3})
