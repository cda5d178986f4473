"""What the engines that read pictures have in common: batches of one shape, padded to a bucket."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serve_app.engines.session import Array, Session
from serve_app.vision.face import Pixels

IMAGE = "image"


def run_pictures(session: Session, pictures: Sequence[Pixels], buckets: Sequence[int]) -> list[list[Array]]:
    """The session's outputs of each picture, (h, w, 3) uint8 BGR, in order.

    Pictures run in batches of the largest bucket; a rest is padded with its last picture to the next bucket.
    """
    results: list[list[Array]] = []
    for start in range(0, len(pictures), buckets[-1]):
        part = list(pictures[start : start + buckets[-1]])
        bucket = next(size for size in buckets if size >= len(part))
        outputs = session.run({IMAGE: np.stack(part + part[-1:] * (bucket - len(part)))})
        results += [[output[i] for output in outputs] for i in range(len(part))]
    return results


def check_outputs(session: Session, expected: tuple[str, ...], model: str) -> None:
    """Raises RuntimeError when the session runs another model."""
    if session.outputs != expected:
        raise RuntimeError(f"this is not the file of {model}: its outputs are {', '.join(session.outputs)}, not {', '.join(expected)}")


def check_picture(pixels: Pixels, side: int | None = None) -> None:
    """Raises ValueError unless the picture is a square (of that side), uint8, BGR."""
    height = side or (pixels.shape[0] if pixels.ndim else 0)
    if pixels.dtype != np.uint8 or pixels.shape != (height, height, 3) or not height:
        raise ValueError(f"a square ({side or 'S'}, {side or 'S'}, 3) uint8 was expected, not {pixels.shape} {pixels.dtype}")
