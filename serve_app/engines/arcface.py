"""ArcFace: who a face is, as 512 numbers (Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019).
Input and output are those of `insightface.model_zoo.ArcFaceONNX`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from serve_app.engines.batches import check_buckets, run_items, settle
from serve_app.engines.choice import Judge, Precision, open_session, probe_picture
from serve_app.engines.onnxfile import Signature, read_signature, reshaped
from serve_app.engines.pictures import check_picture
from serve_app.engines.session import CPU, Array
from serve_app.vision.face import FaceError, FaceSquare, Floats, Pixels

SIDE = 112
EMBEDDING = 512
_FIRST_NODES = 8


class ArcFaceEngine:
    """Engine[FaceSquare, Floats, Array, Floats]: an aligned crop (112, 112, 3) uint8 BGR in, its embedding (512,) float32
    out, raw as the model gives it, not of length 1.

    path: w600k_r50 or another recogniser of that signature; only w600k_r50's embeddings mean anything to inswapper_128.
    threads: of one run; slots: runs at a time. buckets: batch sizes to try, ascending from 1; those that do not give each
    crop what it gets alone are dropped, and on a CPU (`measure`) those that are not faster a crop. Raises RuntimeError when
    the file is no such model.
    """

    def __init__(
        self,
        path: Path,
        *,
        precision: Precision = "fast",
        threads: int = 2,
        slots: int = 1,
        buckets: tuple[int, ...] = (1,),
        measure: bool = True,
        provider: str = CPU,
    ) -> None:
        check_buckets(buckets)
        signature = check_signature(path)
        self.slots = slots
        self._input = signature.inputs[0].name
        self._dtype = np.dtype(signature.inputs[0].dtype)
        self._mean, self._std = normalisation(signature)
        probes = [self._blob(picture) for picture in probe_picture({"": (2, SIDE, SIDE, 3)})[""]]
        self._session = open_session(
            path,
            {self._input: (3, SIDE, SIDE)},
            precision=precision,
            threads=threads,
            slots=slots,
            buckets=buckets,
            allow_bf16=True,
            provider=provider,
            model=partial(reshaped, path) if buckets[-1] > 1 else None,
            probe={self._input: probes[0][None]},
            judge=JUDGE,
        )
        self._probes = [{self._input: probe} for probe in probes]
        self.buckets: tuple[int, ...] = settle(self._session, self._probes, buckets, measure=measure and provider == CPU)

    def warm_up(self) -> None:
        for bucket in self.buckets:
            for (embedding,) in run_items(self._session, self._probes[:1] * bucket, self.buckets):
                if embedding.shape != (EMBEDDING,) or not np.isfinite(embedding).all() or not embedding.any():
                    raise RuntimeError("the face recogniser does not work on this machine: its answer is no embedding")

    def info(self) -> dict[str, str]:
        return {"model": "ArcFace", "slots": str(self.slots), **self._session.info}

    def pre(self, item: FaceSquare) -> Floats:
        """(3, 112, 112) RGB. Raises ValueError unless the crop is what it should be."""
        check_picture(item.pixels, SIDE)
        return self._blob(item.pixels)

    def run(self, batch: Sequence[Floats]) -> list[Array]:
        return [outputs[0] for outputs in run_items(self._session, [{self._input: blob} for blob in batch], self.buckets)]

    def post(self, item: FaceSquare, raw: Array) -> Floats:
        """Raises FaceError when the embedding is not finite, or nothing at all."""
        embedding = np.array(raw, np.float32)
        if not np.isfinite(embedding).all() or not embedding.any():
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
        len(signature.inputs) == len(signature.outputs) == 1
        and signature.inputs[0].shape[1:] == (3, SIDE, SIDE)
        and signature.outputs[0].shape[-1:] in ((EMBEDDING,), (None,))
    )


def normalisation(signature: Signature) -> tuple[float, float]:
    """Mean and divisor of the pixels: none where the graph begins with its own, as MXNet's exports do and the library guesses."""
    names = signature.nodes[:_FIRST_NODES]
    own = any(name.startswith(("Sub", "_minus")) for name in names) and any(name.startswith(("Mul", "_mul")) for name in names)
    return (0.0, 1.0) if own else (127.5, 127.5)


def _error(outputs: Sequence[Array], expected: Sequence[Array]) -> float:
    """1 - cosine of the least alike."""
    worst = 0.0
    for a, b in zip(outputs[0].astype(np.float64), expected[0].astype(np.float64), strict=True):
        cosine = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
        worst = max(worst, 1 - cosine) if np.isfinite(cosine) else float("inf")
    return worst


# Two pictures of one person differ by 0.3 and more; what is allowed here moves no decision.
JUDGE = Judge(_error, {"f32": 1e-6, "bf16": 1e-3})
