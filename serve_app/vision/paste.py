"""Putting swapped squares back into the picture they were cut from."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from serve_app.vision.face import Matrix, Patch, Pixels


def paste(target: Pixels, patches: Sequence[tuple[Patch, Matrix]]) -> Pixels:
    """A new picture: `target` with every patch laid over it, in their order.

    target: (H, W, 3) uint8 BGR, not changed. Each patch comes with the (2, 3) matrix picture -> square it was cut with.
    A pixel becomes patch * mask + target * (1 - mask), rounded: exactly the target's where the mask is 0, exactly the patch's
    where it is 255. Only the rectangle that the mask covers is computed; what falls outside the picture is left out. A patch whose
    matrix is a shift by whole pixels is not resampled.
    """
    result = target.copy()
    for patch, matrix in patches:
        x, y, width, height = cv2.boundingRect(patch.mask)
        if not width:
            continue
        corner = np.round(matrix[:, 2])
        if np.array_equal(matrix[:, :2], np.eye(2)) and np.array_equal(corner, matrix[:, 2]):
            left, top = x - int(corner[0]), y - int(corner[1])
            _lay(result, patch.pixels[y : y + height, x : x + width], patch.mask[y : y + height, x : x + width], left, top)
        else:
            _lay_warped(result, patch, matrix, (x, y, width, height))
    return result


def _lay(picture: Pixels, pixels: Pixels, mask: Pixels, left: int, top: int) -> None:
    """Blend a rectangle into `picture` in place at (left, top), clipped to the picture."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + mask.shape[1], picture.shape[1]), min(top + mask.shape[0], picture.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    below = picture[y0:y1, x0:x1]
    share = mask[part].astype(np.uint16)[..., None]
    # (v + 128 + (v + 128 >> 8)) >> 8 is v / 255 rounded to nearest for every v up to 255 * 255, all within 16 bits
    total = pixels[part] * share
    total += below * (255 - share)
    total += 128
    total += total >> 8
    total >>= 8
    below[...] = total


def _lay_warped(picture: Pixels, patch: Patch, matrix: Matrix, box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[x - 1, y - 1], [x + width, y - 1], [x - 1, y + height], [x + width, y + height]])
    corners = corners @ back[:, :2].T + back[:, 2]
    low = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + 1, picture.shape[1::-1]).astype(int)
    if (low >= high).any():
        return
    local = matrix.copy()
    local[:, 2] += matrix[:, :2] @ low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    inverse = cv2.WARP_INVERSE_MAP
    pixels = cv2.warpAffine(patch.pixels, local, size, flags=cv2.INTER_CUBIC | inverse, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(patch.mask, local, size, flags=cv2.INTER_LINEAR | inverse, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    _lay(picture, np.asarray(pixels, np.uint8), np.asarray(mask, np.uint8), int(low[0]), int(low[1]))
