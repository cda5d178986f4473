"""The upright crop around a face that ArcFace and the 128 pixel swappers look at.

(Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019; `insightface.utils.face_align` of
insightface 2.1.)
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from serve_app.vision.face import FaceError, Floats, Matrix, Pixels, Square

# Where the five keypoints come to lie in a crop of 112 pixels.
TEMPLATE: Floats = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
TEMPLATE.setflags(write=False)

# How much of the keypoints' spread the best similarity explains: 1 is a perfect fit, a face in full profile still reaches 0.78,
# one turned a little further 0.6; mirrored keypoints reach 0.23.
_LEAST_FIT = 0.5
_SMALLEST = 0.1  # pixels: keypoints nearer to their middle are one spot
_FARTHEST = 1e9  # pixels: what lies beyond would overflow


def template(size: int) -> Floats:
    """(5, 2) float32: the keypoints' places in a crop of `size` pixels, a multiple of 112, or of 128 (which has a wider margin)."""
    if size <= 0 or (size % 112 and size % 128):
        raise ValueError("a crop's side is a multiple of 112 or of 128")
    if size % 112 == 0:
        return TEMPLATE * np.float32(size / 112)
    ratio = size / 128
    return TEMPLATE * np.float32(ratio) + np.array([8 * ratio, 0], np.float32)


def umeyama(a: ArrayLike, b: ArrayLike) -> tuple[Matrix, float]:
    """The (2, 3) float64 similarity that brings (n, 2) points `a` nearest to `b`, never a reflection, and how well it fits, 0 to 1.

    Least squares after Umeyama (PAMI 13(4), 1991), computed in the points' own precision: float32 keypoints give the very matrix that
    the library gets for them, which is up to 0.01 pixels away from float64's at 4K and would move crops and pasted pixels. (For all
    other purposes see `geometry.similarity`.)
    Raises ValueError when the points are not finite or lie on one spot.
    """
    start, goal = np.asarray(a), np.asarray(b)
    if not ((np.abs(start) < _FARTHEST).all() and (np.abs(goal) < _FARTHEST).all()):
        raise ValueError("the points are not finite")
    start_mean, goal_mean = start.mean(0), goal.mean(0)
    start, goal = start - start_mean, goal - goal_mean
    spread = start.var(0).sum()
    if not float(spread) > _SMALLEST**2:
        raise ValueError("the points lie on one spot")
    covariance = goal.T @ start / len(start)
    left, sizes, right = np.linalg.svd(covariance)
    signs = np.array([1.0, _last_sign(covariance, left, sizes, right)])
    strength = sizes @ signs
    scale = 1.0 / spread * strength
    rotation = (left * signs) @ right
    matrix = np.empty((2, 3))
    matrix[:, 2] = goal_mean - scale * (rotation @ start_mean)
    matrix[:, :2] = rotation * scale
    return matrix, float(strength / np.sqrt(float(spread) * float(goal.var(0).sum())))


def _last_sign(
    covariance: NDArray[np.floating], left: NDArray[np.floating], sizes: NDArray[np.floating], right: NDArray[np.floating]
) -> float:
    """-1 where the best fit would be a reflection. Points on one line decide nothing: then the turn must not be one."""
    on_a_line = sizes[1] <= sizes[0] * 2 * np.finfo(float).eps
    determinant = np.linalg.det(left) * np.linalg.det(right) if on_a_line else np.linalg.det(covariance)
    return -1.0 if determinant < 0 else 1.0


def arcface_matrix(keypoints: ArrayLike, size: int) -> Matrix:
    """(2, 3) float64, picture -> crop of `size` pixels, for five keypoints (5, 2) in the order of `Faces`.

    Raises FaceError when they are not finite, lie on one spot, or are no face's: left and right exchanged, for one.
    """
    points = np.asarray(keypoints)
    if points.shape != (5, 2):
        raise ValueError("five keypoints are needed")
    try:
        matrix, fit = umeyama(points, template(size))
    except ValueError as error:
        raise FaceError(f"The face that was found cannot be used: {error}.") from error
    if not fit >= _LEAST_FIT:
        raise FaceError("The face that was found cannot be used: eyes, nose and mouth do not lie as in a face.")
    return matrix


def arcface_square(bgr: Pixels, keypoints: ArrayLike, size: int) -> Square:
    """The crop of `size` (112 for ArcFace, 128 for the swapper) out of a (H, W, 3) uint8 BGR picture.

    Bilinear, black outside the picture: the pixels of the library's `norm_crop2`, bit for bit. keypoints: (5, 2), float32 as the
    detector gives them. Raises FaceError as `arcface_matrix`, and when the crop misses the picture.
    """
    matrix = arcface_matrix(keypoints, size)
    if not meets(quadrangle(matrix, size), rectangle(bgr.shape)):
        raise FaceError("The face that was found lies outside the picture.")
    pixels = cv2.warpAffine(bgr, matrix, (size, size), borderValue=0.0)
    points = np.asarray(keypoints, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return Square(np.asarray(pixels, np.uint8), points.astype(np.float32), matrix)


def quadrangle(matrix: Matrix, side: int, margin: float = 0.0) -> Matrix:
    """(4, 2): the corners, in the picture, of all that a square shows by bilinear sampling, and `margin` picture pixels around it."""
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    reach = margin * float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    low, high = -1.0 - reach, side + reach
    corners: Matrix = np.array([[low, low], [high, low], [high, high], [low, high]]) @ back[:, :2].T + back[:, 2]
    return corners


def rectangle(shape: tuple[int, ...]) -> Matrix:
    """(4, 2): the centres of a picture's corner pixels; shape: (height, width, ...)."""
    right, bottom = shape[1] - 1.0, shape[0] - 1.0
    return np.array([[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]])


def meets(a: Matrix, b: Matrix) -> bool:
    """Whether two convex polygons (n, 2) share a point: no side of either parts them (separating axes)."""
    for polygon in (a, b):
        sides = np.roll(polygon, -1, 0) - polygon
        for normal in sides[:, ::-1] * (1.0, -1.0):
            ours, theirs = a @ normal, b @ normal
            if ours.max() < theirs.min() or theirs.max() < ours.min():
                return False
    return True
