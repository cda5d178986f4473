"""inswapper_128 and what shares its signature: the face of one person in the crop of another.

Latent, input and output are those of `insightface.model_zoo.INSwapper`; Hyperswap's are FaceFusion's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, Unpack

import cv2
import numpy as np
from numpy.typing import NDArray

from serve_app.engines.batches import Inputs, finite
from serve_app.engines.choice import Judge, probe_picture
from serve_app.engines.net import Net, Runs
from serve_app.engines.onnxfile import Signature, Tensor, Weight, read_signature, read_weight
from serve_app.engines.pictures import check_picture
from serve_app.engines.session import Array
from serve_app.vision.face import FaceError, Floats, Patch, Pixels, SwapItem

Kind: TypeAlias = Literal["inswapper", "hyperswap"]
EMBEDDING = 512
SIDES: dict[Kind, int] = {"inswapper": 128, "hyperswap": 256}
EMAP = "buff2fs"
KNOWN = (
    "inswapper: float[?,3,128,128] and float[?,512] in, float[?,3,128,128] out, and a (512,512) weight that no node reads; "
    "hyperswap: float[?,512] and float[?,3,256,256] in, float[?,3,256,256] and a mask float[?,1,256,256] out"
)
UNUSABLE = "The face could not be swapped: the model's answer is not a picture. Use pictures that show the faces more clearly."


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a swapper's picture and identity go in and where its outputs come out, whatever they are called."""

    target: Tensor
    source: Tensor
    picture: int
    mask: int | None


class InSwapperEngine:
    """Engine[SwapItem, Inputs, list[Array], Patch]: `source.features` (512,) float32, the raw embedding of w600k_r50, onto
    `target.pixels`, a crop (side, side, 3) uint8 BGR. The patch is as large; its mask is 255 for inswapper and the model's
    own for hyperswap.

    kind: `inswapper` (inswapper_128, ReSwapper; float32 or float16) or, only when named, `hyperswap`: nothing in its file
    tells how its pixels are to be scaled. runs: see `Runs`; batches pay on GPUs, and in bf16 a little where a processor has AMX
    (docs/models.md). A poisoned item fails alone. Raises RuntimeError when the file is no such model or cannot be run.
    """

    def __init__(self, path: Path, *, kind: Kind = "inswapper", **runs: Unpack[Runs]) -> None:
        signature = check_signature(path, kind)
        self.kind = kind
        self.side = SIDES[kind]
        self._ports = find_ports(signature)
        self._emap = read_weight(path, find_emap(signature)) if kind == "inswapper" else None
        self._net = Net(path, self._probes(), JUDGE, careful=True, **runs)
        self.buckets, self.slots = self._net.buckets, self._net.slots

    def warm_up(self) -> None:
        self._net.warm_up(self._check)

    def _check(self, outputs: Sequence[Array]) -> None:
        picture = outputs[self._ports.picture]
        if picture.shape != (3, self.side, self.side) or not finite(outputs):
            raise ValueError("its answer is not a picture")

    def info(self) -> dict[str, str]:
        return {"model": self.kind, "side": str(self.side), **self._net.info}

    def pre(self, item: SwapItem) -> Inputs:
        """Raises FaceError for an embedding that is none, ValueError when the crop has another shape."""
        if item.target.pixels is None or item.source.features is None:
            raise ValueError("a source embedding and a target crop are needed")
        check_picture(item.target.pixels, self.side)
        if item.source.features.shape != (EMBEDDING,):
            raise ValueError(f"an embedding (512,) was expected, not {item.source.features.shape}")
        length = np.linalg.norm(item.source.features)
        if not np.isfinite(length) or not length:
            raise FaceError("The source face could not be described. Use a picture that shows it more clearly.")
        return self._inputs(item.target.pixels, self.latent(item.source.features))

    def run(self, batch: Sequence[Inputs]) -> list[list[Array]]:
        return self._net.run(batch)

    def post(self, item: SwapItem, raw: Sequence[Array]) -> Patch:
        """Raises FaceError when the model's output is not finite."""
        if not finite(raw):
            raise FaceError(UNUSABLE)
        rgb = np.asarray(raw[self._ports.picture], np.float32)
        if self.kind == "hyperswap":
            rgb = rgb * np.float32(0.5) + np.float32(0.5)
        pixels = np.ascontiguousarray(_levels(rgb).transpose(1, 2, 0)[:, :, ::-1])
        if self.kind == "inswapper" or self._ports.mask is None:
            return Patch(pixels, np.full((self.side, self.side), 255, np.uint8))
        return Patch(pixels, _levels(np.asarray(raw[self._ports.mask][0], np.float32)))

    def latent(self, embedding: Floats) -> Floats:
        """(512,): what the model takes of a raw embedding (512,), by the library's steps in its order and precision."""
        unit: Floats = embedding / np.linalg.norm(embedding)
        if self._emap is None:
            return unit
        latent: Floats = np.dot(unit.reshape(1, -1), self._emap)
        latent /= np.linalg.norm(latent)
        return latent.reshape(EMBEDDING)

    def _inputs(self, pixels: Pixels, latent: Floats) -> Inputs:
        size = (self.side, self.side)
        if self.kind == "inswapper":
            blob = cv2.dnn.blobFromImage(pixels, 1.0 / 255.0, size, (0.0, 0.0, 0.0), swapRB=True)
        else:
            blob = cv2.dnn.blobFromImage(pixels, 1.0 / 127.5, size, (127.5, 127.5, 127.5), swapRB=True)
        target, source = self._ports.target, self._ports.source
        return {target.name: np.asarray(blob[0], np.dtype(target.dtype)), source.name: np.asarray(latent, np.dtype(source.dtype))}

    def _probes(self) -> list[Inputs]:
        pictures = [*probe_picture({"": (1, self.side, self.side, 3)})[""], _cut_off(self.side), _faint(self.side)]
        embeddings = np.random.default_rng(0).standard_normal((len(pictures), EMBEDDING)).astype(np.float32)
        return [self._inputs(picture, self.latent(embedding)) for picture, embedding in zip(pictures, embeddings, strict=True)]


def check_signature(path: Path, kind: Kind) -> Signature:
    """Raises RuntimeError, naming what was found and what is known, unless the file is of that kind."""
    signature = read_signature(path)
    tests: dict[Kind, Callable[[Signature], bool]] = {"inswapper": is_inswapper, "hyperswap": is_hyperswap}
    if not tests[kind](signature):
        raise RuntimeError(f"{path.name} is no face swapper of kind {kind}: its signature is {signature}. Known: {KNOWN}")
    return signature


def is_inswapper(signature: Signature) -> bool:
    return _shapes(signature.outputs) == [(3, 128, 128)] and _takes(signature, 128) and _unread(signature) is not None


def is_hyperswap(signature: Signature) -> bool:
    return sorted(_shapes(signature.outputs)) == [(1, 256, 256), (3, 256, 256)] and _takes(signature, 256)


def find_ports(signature: Signature) -> Ports:
    """By shape: files differ in names, and Hyperswap's inputs come in another order."""
    (target,) = (tensor for tensor in signature.inputs if len(tensor.shape) == 4)
    (source,) = (tensor for tensor in signature.inputs if len(tensor.shape) == 2)
    channels = [tensor.shape[1] for tensor in signature.outputs]
    return Ports(target, source, channels.index(3), channels.index(1) if 1 in channels else None)


def find_emap(signature: Signature) -> Weight:
    """The matrix from embeddings to latents: `buff2fs`, else the last (512, 512) weight that no node reads.

    The library takes the last weight of all, which is another one in some float16 files. Raises RuntimeError without any.
    """
    weight = _unread(signature)
    if weight is None:
        raise RuntimeError(f"the face swapper has no (512, 512) weight from embeddings to latents: {signature}")
    return weight


def _unread(signature: Signature) -> Weight | None:
    fitting = [weight for weight in signature.weights if weight.shape == (EMBEDDING, EMBEDDING)]
    named = [weight for weight in fitting if weight.name == EMAP]
    return next(iter(named or [weight for weight in reversed(fitting) if not weight.used]), None)


def _takes(signature: Signature, side: int) -> bool:
    return signature.floats and sorted(_shapes(signature.inputs), key=len) == [(EMBEDDING,), (3, side, side)]


def _shapes(tensors: Sequence[Tensor]) -> list[tuple[Any, ...]]:
    return [tensor.shape[1:] for tensor in tensors]


def _levels(values: Floats) -> Pixels:
    """0..1 -> 0..255, cut off below the point as the library does it."""
    levels: NDArray[np.uint8] = np.clip(255 * values, 0, 255).astype(np.uint8)
    return levels


def _cut_off(side: int) -> Pixels:
    """Half of it lies outside of its picture: of a sharp edge between plain areas a normalising net makes much, too."""
    picture = np.full((side, side, 3), (150, 120, 180), np.uint8)
    picture[:, side // 2 :] = 0
    return picture


def _faint(side: int) -> Pixels:
    """One colour with a noise of a few levels: of such a crop a net that normalises makes the most of each rounding."""
    noise = np.random.default_rng(0).normal(0, 2, (side, side, 3))
    return np.asarray(np.rint(np.array([150, 120, 180]) + noise), np.uint8)


def _error(outputs: Sequence[Array], expected: Sequence[Array]) -> float:
    """Root mean square difference of the pictures, where 1 is from black to white."""
    worst = 0.0
    for a, b in zip(outputs, expected, strict=True):
        error = float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))
        worst = max(worst, error) if np.isfinite(error) else float("inf")
    return worst


# 0.01 is a peak signal-to-noise ratio of 40 dB: between two and three of 255 levels.
JUDGE = Judge(_error, {"f32": 1e-4, "bf16": 0.01})
