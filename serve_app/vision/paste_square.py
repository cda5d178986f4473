"""Putting swapped crops back as the InsightFace library does, on the face's part of the picture only.

`paste_squares` gives what `insightface.model_zoo.inswapper.INSwapper.get` of insightface 2.1 gives: bit for bit with the same OpenCV on
pictures up to about 16 megapixels, within two levels on larger ones. That hangs on where the work is cut:

- A pixel's place in the crop is rounded by its row and column in the whole picture, so the warp starts at the picture's corner. It
  ends at the face; a cut to the right and below moves nothing, as long as OpenCV's vectors of pixels stay whole.
- The blur's sum is rounded one way in whole vectors and another in the rest of a row, and the result is cut to whole levels: so the
  blurred part starts and ends at the same vectors as the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from serve_app.vision.arcface import meets, quadrangle, rectangle
from serve_app.vision.face import Floats, Matrix, Patch, Pixels

Sample = TypeVar("Sample", Pixels, Floats)

_VECTOR = 64  # pixels: a multiple of every vector that OpenCV works in
_WHOLE = 16_000_000  # pixels between the picture's corner and the face's end that are worth warping for the last level
_FAINT = 20.0  # of 255: where the warped square counts


class _Box(NamedTuple):
    """Columns left to right and rows top to bottom of a picture, ends excluded."""

    left: int
    top: int
    right: int
    bottom: int

    def vectors(self, shape: tuple[int, ...]) -> _Box:
        """It, made wider to whole vectors within a picture of `shape`."""
        right = -(-self.right // _VECTOR) * _VECTOR
        return self._replace(left=self.left // _VECTOR * _VECTOR, right=min(right, shape[1]))


def paste_squares(target: Pixels, patches: Sequence[tuple[Patch, Matrix]]) -> Pixels:
    """A new picture: `target` with every patch laid over it, one after the other, in their order.

    target: (H, W, 3) uint8 BGR, not changed. Each patch comes with the (2, 3) matrix picture -> square it was cut with; its mask is
    not looked at: the whole square counts, fading towards its border. A patch that lies outside the picture changes nothing (the
    library fails on it).
    """
    result = target.copy()
    for patch, matrix in patches:
        _paste(result, patch.pixels, matrix)
    return result


def overlapping(matrices: Sequence[Matrix], side: int, shape: tuple[int, ...]) -> list[list[int]]:
    """Which faces can be cut and swapped together: lists of indices, to be worked off one list after the other.

    matrices: picture -> square of `side`, in the order in which the library would swap them; shape: the picture's (height, width).
    The library cuts each face out of what the faces before it have left. A face's list comes after the lists of all earlier faces that
    may touch what it shows, so that cutting a whole list, swapping it in a batch and pasting it gives the library's picture.
    """
    # The mask is eroded by as much as the blur spreads it again, give or take a pixel: what a paste changes ends with its square.
    corners = [quadrangle(matrix, side, margin=3.0) for matrix in matrices]
    lists: list[list[int]] = []
    turns: list[int] = []
    for index, square in enumerate(corners):
        before = [turns[other] for other in range(index) if _touch(square, corners[other], shape)]
        turns.append(max(before, default=-1) + 1)
        if turns[-1] == len(lists):
            lists.append([])
        lists[turns[-1]].append(index)
    return lists


def _touch(a: Matrix, b: Matrix, shape: tuple[int, ...]) -> bool:
    """Whether two squares may share pixels of the picture. It errs towards yes."""
    low = np.maximum(np.maximum(a.min(0), b.min(0)), 0)
    high = np.minimum(np.minimum(a.max(0), b.max(0)), [shape[1] - 1, shape[0] - 1])
    picture = rectangle(shape)
    return bool((low <= high).all()) and meets(a, b) and meets(a, picture) and meets(b, picture)


def _paste(picture: Pixels, pixels: Pixels, matrix: Matrix) -> None:
    """Lay one square over `picture`, in place."""
    side = pixels.shape[0]
    corners = quadrangle(matrix, side)
    if not (np.isfinite(corners).all() and meets(corners, rectangle(picture.shape))):
        return
    low = np.maximum(np.floor(corners.min(0)) - 2, 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + 3, picture.shape[1::-1]).astype(int)
    box = _Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    wide = box.vectors(picture.shape)
    mask = _soften(_warp(np.full((side, side), 255, np.float32), back, wide))
    if mask is None:
        return
    columns = slice(box.left - wide.left, box.right - wide.left)
    _blend(picture[box.top : box.bottom, box.left : box.right], _warp(pixels, back, wide)[:, columns], mask[:, columns])


def _blend(below: Pixels, patch: Pixels, mask: Floats) -> None:
    """patch * mask + below * (1 - mask), in float32, the rest behind the point cut off; in place."""
    share = cv2.merge([mask, mask, mask])  # numpy is slow where it has to stretch the last axis
    mixed = share * patch
    np.subtract(1, share, out=share)
    share *= below
    mixed += share
    below[...] = mixed.astype(np.uint8)


def _warp(square: Sample, back: Matrix, box: _Box) -> Sample:
    """The box of the picture that shows the square, black around it. See the head of this module for what is computed beside it."""
    top = 0 if box.right * box.bottom <= _WHOLE else box.top
    onward = back.copy()
    onward[1, 2] -= top
    warped = np.asarray(cv2.warpAffine(square, onward, (box.right, box.bottom - top), borderValue=0.0), square.dtype)
    return warped[box.top - top :, box.left :]


def _soften(white: Floats) -> Floats | None:
    """How much the patch counts, 0 to 1, in the box; None where nothing of it shows. white: the warped square, 0 to 255.

    The blur does not bring back more than the erosion takes away: nothing has to be known of what lies around the box.
    """
    shown = white > _FAINT
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    if not len(rows):
        return None
    size = int(np.sqrt((rows[-1] - rows[0]) * (columns[-1] - columns[0])))
    thick, blur = max(size // 10, 10), max(size // 20, 5)
    core = cv2.erode(np.where(shown, np.float32(255), white), np.ones((thick, thick), np.uint8))
    faded = np.asarray(cv2.GaussianBlur(core, (2 * blur + 1, 2 * blur + 1), 0), np.float32)
    return faded / np.float32(255)
