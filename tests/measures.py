"""What tests measure on pictures: how much of a person is in a swapped face, and how well the face sits in its picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from serve_app.vision.geometry import similarity

# Where ArcFace wants the five points in its 112 x 112 pixels.
ARCFACE_TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
ALIGNED = 112

# Measured on the six faces of t1.jpg with the astronaut and Tom Hanks as sources: of 4 to 50 pixels, 16 to 20 tell the two apart best.
# Finer detail is lost to expression and pose, coarser structure is light. Own minus other correlation is then 0.09 to 0.7 (0.06 to 0.7
# with keypoints a pixel off).
DETAIL_SIGMA = 18.0
IDENTITY_MARGIN = 0.04


def aligned_luminance(bgr: NDArray[np.uint8], keypoints: ArrayLike) -> NDArray[np.float32]:
    """(112, 112) float32: the face turned upright onto ArcFace's five points, luminance only."""
    matrix = similarity(keypoints, ARCFACE_TEMPLATE).matrix
    grey = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.float32)
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    if scale < 1:  # nothing finer than a pixel of the aligned face may fold back into it
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.5 * np.sqrt(1 / scale**2 - 1) + 1e-3), np.float32)
    aligned = cv2.warpAffine(grey, matrix, (ALIGNED, ALIGNED), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(aligned, np.float32)


def detail(luminance: NDArray[np.float32], sigma: float = DETAIL_SIGMA) -> NDArray[np.float32]:
    """What is left without the low frequencies, so that light and the colour of skin say little."""
    return np.asarray(luminance - cv2.GaussianBlur(luminance, (0, 0), sigma), np.float32)


def inner_face() -> NDArray[np.float32]:
    """(112, 112) float32: a soft ellipse over brows, eyes, nose and mouth of an aligned face."""
    y, x = np.mgrid[:ALIGNED, :ALIGNED].astype(np.float32)
    radius = np.hypot((x - 56) / 37.0, (y - 68) / 42.0)
    return np.asarray(np.clip((1.15 - radius) / 0.3, 0, 1), np.float32)


def identity_correlation(
    result: NDArray[np.uint8],
    target: NDArray[np.uint8],
    keypoints: ArrayLike,
    source: NDArray[np.uint8],
    source_keypoints: ArrayLike,
    sigma: float = DETAIL_SIGMA,
) -> float:
    """Correlation (-1 to 1) of a swapped face with a source's face, both aligned, low frequencies removed.

    Pictures are (H, W, 3) uint8 BGR, the target being what the result was made from; keypoints, (5, 2), are the target's and the
    source's: left eye, right eye, nose, left and right mouth corner. Only pixels that the swap changed count: what was kept of the
    target, such as a forehead, resembles whichever source is posed alike.
    """
    swapped, before = aligned_luminance(result, keypoints), aligned_luminance(target, keypoints)
    changed = np.minimum(np.abs(swapped - before), 10) / 10
    weight = inner_face() * np.asarray(cv2.GaussianBlur(changed, (0, 0), 3), np.float32)
    weight /= max(float(weight.sum()), 1e-6)
    a, b = detail(swapped, sigma), detail(aligned_luminance(source, source_keypoints), sigma)
    a, b = a - (weight * a).sum(dtype=np.float32), b - (weight * b).sum(dtype=np.float32)
    return float((weight * a * b).sum() / np.sqrt((weight * a * a).sum() * (weight * b * b).sum() + 1e-12))


def seam_gradient(result: NDArray[np.uint8], target: NDArray[np.uint8], mask: NDArray[np.uint8], width: int) -> float:
    """How much steeper the luminance is along a patch's edge than it was in the target there: 1 for no trace of an edge.

    result, target: (H, W, 3) uint8 BGR. mask: (H, W) uint8 of the patch. width: of the band inside the edge, in pixels.
    """
    depth = cv2.distanceTransform((mask > 0).astype(np.uint8), cv2.DIST_L2, 5)
    band = (depth > 0) & (depth <= width)
    after, before = (_steepness(picture)[band].mean() for picture in (result, target))
    return float(after / before)


def _steepness(bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.GaussianBlur(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.float32), (0, 0), 1)
    return np.hypot(np.asarray(cv2.Sobel(grey, cv2.CV_32F, 1, 0)), np.asarray(cv2.Sobel(grey, cv2.CV_32F, 0, 1))).astype(np.float32)


def mean_lab(bgr: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(3,): mean CIE L*a*b* of the chosen pixels."""
    lab = np.asarray(cv2.cvtColor(bgr.astype(np.float32) / 255, cv2.COLOR_BGR2LAB), np.float32)
    return np.asarray(lab[where].mean(0), np.float32)
