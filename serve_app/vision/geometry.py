"""Where a face lies: similarity transforms, and the square cut around a face.

A matrix is (2, 3) float64 and maps (x, y) of one picture to another; whole numbers are the centres of pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from serve_app.vision.face import Matrix, Pixels, Square

# In units of the face's scale (see _axis): where the face's middle lies between eyes and mouth, and half of the square's side.
_MIDDLE = 0.42
_REACH = 2.25
_SMALLEST = 16


class Similarity(NamedTuple):
    """b = scale * rotation @ a + translation."""

    scale: float
    rotation: Matrix
    translation: Matrix

    @property
    def matrix(self) -> Matrix:
        """(d, d + 1) float64, ready for cv2.warpAffine when d is 2."""
        return np.column_stack([self.scale * self.rotation, self.translation])

    def apply(self, points: ArrayLike) -> Matrix:
        """(n, d) points moved, float64."""
        moved: Matrix = np.asarray(points, np.float64) @ (self.scale * self.rotation).T + self.translation
        return moved


def similarity(a: ArrayLike, b: ArrayLike, weights: ArrayLike | None = None) -> Similarity:
    """The rotation, scale and shift that bring points `a` nearest to points `b`, never a reflection.

    a, b: (n, d), any d; weights: (n,), none negative. Weighted least squares after Umeyama (PAMI 13(4), 1991), in float64.
    Raises ValueError when the points are not finite or do not span anything.
    """
    start, goal = np.asarray(a, np.float64), np.asarray(b, np.float64)
    share = np.ones(len(start)) if weights is None else np.asarray(weights, np.float64)
    if not (np.isfinite(start).all() and np.isfinite(goal).all() and np.isfinite(share).all() and share.sum() > 0):
        raise ValueError("points and weights must be finite")
    share = share / share.sum()
    start_mean, goal_mean = share @ start, share @ goal
    start, goal = start - start_mean, goal - goal_mean
    variance = float(share @ (start**2).sum(1))
    if variance < 1e-12:
        raise ValueError("the points lie on one spot")
    left, sizes, right = np.linalg.svd((goal * share[:, None]).T @ start)
    signs = np.ones(len(sizes))
    signs[-1] = np.sign(np.linalg.det(left @ right)) or 1.0
    rotation = (left * signs) @ right
    scale = float(sizes @ signs) / variance
    return Similarity(scale, rotation, goal_mean - scale * rotation @ start_mean)


def axis_square(shape: tuple[int, int], keypoints: ArrayLike, *, max_side: int) -> tuple[Matrix, int]:
    """The upright square around a face: (matrix picture -> square, side).

    shape: (height, width) of the picture. keypoints: (5, 2), left eye, right eye, nose, left and right mouth corner.
    The square holds the whole face mesh with a margin of a fifth of the face or more, at any roll and yaw; its side is even and its
    corner lies on a pixel; it may reach past the picture. Up to `max_side` the matrix is a mere shift (pixels are copied, never
    resampled); a larger square is scaled down to `max_side`.
    Raises ValueError when the points are not finite, lie on one spot, or the square misses the picture.
    """
    points = np.asarray(keypoints, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError("five finite keypoints are needed")
    centre, scale = _axis(points)
    if scale < 0.5:
        raise ValueError("the keypoints lie on one spot")
    natural = max(_SMALLEST, 2 * int(np.ceil(_REACH * scale)))
    corner = np.floor(centre - natural / 2 + 0.5)
    if not ((corner < shape[::-1]).all() and (corner + natural > 0).all()):
        raise ValueError("the face lies outside the picture")
    side = min(natural, max_side - max_side % 2)
    factor = side / natural
    shift = (factor - 1) / 2 - factor * corner  # the corner of pixel (0, 0), not its centre, stays in place
    return np.array([[factor, 0.0, shift[0]], [0.0, factor, shift[1]]]), side


def _axis(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Middle and scale of a face. The scale is the distance of eyes to mouth, or the eyes' where that is foreshortened."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    scale = max(float(np.linalg.norm(mouth - eyes)), float(np.linalg.norm(points[1] - points[0])))
    return eyes + _MIDDLE * (mouth - eyes), scale


def cut(bgr: Pixels, matrix: Matrix, side: int, keypoints: ArrayLike) -> Square:
    """The square that `matrix` describes, out of a (H, W, 3) uint8 BGR picture. keypoints: (5, 2) in the picture.

    A shift by whole pixels copies pixels exactly. Anything else is resampled, with averaging where it shrinks.
    What lies outside the picture repeats the picture's border.
    """
    corner = np.round(matrix[:, 2])
    if np.array_equal(matrix[:, :2], np.eye(2)) and np.array_equal(corner, matrix[:, 2]):
        pixels = _copy(bgr, -int(corner[0]), -int(corner[1]), side)
    else:
        pixels = _resample(bgr, matrix, side)
    points = np.asarray(keypoints, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return Square(pixels, points.astype(np.float32), np.array(matrix, np.float64))


def _copy(bgr: Pixels, x: int, y: int, side: int) -> Pixels:
    top, bottom, above = _overlap(y, side, bgr.shape[0])
    left, right, before = _overlap(x, side, bgr.shape[1])
    inside = bgr[top:bottom, left:right]
    if inside.shape[:2] == (side, side):
        return inside.copy()
    pads = (above, side - above - (bottom - top), before, side - before - (right - left))
    return np.asarray(cv2.copyMakeBorder(inside, *pads, cv2.BORDER_REPLICATE), np.uint8)


def _overlap(start: int, side: int, length: int) -> tuple[int, int, int]:
    """Of rows start to start + side: the first and the end that a picture of `length` rows has (at least one), and how many before."""
    low, high = min(max(start, 0), length - 1), max(min(start + side, length), 1)
    return low, high, min(max(low - start, 0), side - 1)


def _resample(bgr: Pixels, matrix: Matrix, side: int) -> Pixels:
    """cv2.warpAffine, from a part of the picture that has first been shrunk so that nothing is skipped."""
    height, width = bgr.shape[:2]
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]]) @ back[:, :2].T + back[:, 2]
    low = np.clip(np.floor(corners.min(0)) - 3, 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 3, low + 1, [width, height]).astype(int)
    part = bgr[low[1] : high[1], low[0] : high[0]]
    shrink = np.ones(2)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 1:
        size = np.maximum(np.round((high - low) * scale), 1).astype(int)
        shrink = size / (high - low)
        part = np.asarray(cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA), np.uint8)
    # pixel p of `part` is pixel (p + 0.5) / shrink - 0.5 + low of the picture
    onward = np.column_stack([matrix[:, :2] / shrink, matrix[:, :2] @ (0.5 / shrink - 0.5 + low) + matrix[:, 2]])
    warped = cv2.warpAffine(np.ascontiguousarray(part), onward, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
