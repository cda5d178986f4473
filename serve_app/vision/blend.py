"""Multi-band blending."""

from __future__ import annotations

import cv2
import numpy as np

from serve_app.vision.face import Floats


def bands(size: float) -> int:
    """How many octaves to blend apart, for a face of `size` pixels."""
    return int(np.clip(np.log2(max(size, 16.0) / 24), 1, 5))


def multiband(difference: Floats, mask: Floats, levels: int) -> Floats:
    """What to add to a picture so that a second one fades in: coarse detail over a wide seam, fine detail over a narrow one.

    difference: (h, w, 3) float32, second picture minus first. mask: (h, w) float32, 1 where the second is wanted. Burt and Adelson's
    spline (1983); since it is linear, one pyramid of the difference does for the two pictures.
    """
    details, masks = [difference], [mask]
    for _ in range(levels):
        details.append(_floats(cv2.pyrDown(details[-1])))
        masks.append(_floats(cv2.pyrDown(masks[-1])))
    total = details[-1] * masks[-1][..., None]
    for finer, coarser, share in zip(details[-2::-1], details[:0:-1], masks[-2::-1], strict=True):
        size = (finer.shape[1], finer.shape[0])
        detail = finer - _floats(cv2.pyrUp(coarser, dstsize=size))
        detail *= share[..., None]
        total = _floats(cv2.pyrUp(total, dstsize=size)) + detail
    return total


def _floats(array: object) -> Floats:
    return np.asarray(array, np.float32)
