"""How well a swapped face sits in its picture.

The result is taken as a stranger's picture: its face is found and measured anew. Of the swap nothing but the mask goes in, which says where
its edge is to be looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serve_app.vision.face import Floats, Patch, Pixels
from serve_app.vision.mesh import EYES, VERTICES, Mesh, yaw
from serve_app.vision.paste import paste
from tests.gallery import Person

BLACK = 16  # levels
AWAY, HALF, INSIDE = 8.0, 1.5, 6.0  # pixels: how far from the edge it is compared, half a ring's width, and how far it may reach inwards


@dataclass(frozen=True, slots=True)
class Fit:
    """black, seam, landmarks: see the functions. turned: degrees, of the target's head."""

    black: float
    seam: float
    landmarks: float
    turned: float


def fit(result: Pixels, found: Person, target: Person, mask: Pixels) -> Fit:
    """result: (H, W, 3) uint8 BGR. found: its face, measured anew. mask: (H, W) uint8, see `laid`."""
    return Fit(
        black(result, target.picture, mask),
        seam(result, target.picture, mask),
        landmarks(found, target),
        abs(yaw(target.mesh.astype(np.float64))),
    )


def laid(target: Person, patch: Patch) -> Pixels:
    """(H, W) uint8: how far the patch counts at each pixel of the target's picture, 0 to 255."""
    white = Patch(np.full_like(patch.pixels, 255), patch.mask)
    return np.ascontiguousarray(paste(np.zeros_like(target.picture), [(white, target.matrix)])[..., 0])


def black(result: Pixels, target: Pixels, mask: Pixels) -> float:
    """The largest hole, as a share of the mask's area.

    A hole is a region, joined by sides, of pixels under the mask that are darker than 16 levels in every channel where the target's are
    not. What is not finite is among them: rounding to 8 bits makes it 0.
    """
    holes = (mask > 0) & (result < BLACK).all(axis=2) & (target >= BLACK).any(axis=2)
    _, _, stats, _ = cv2.connectedComponentsWithStats(holes.astype(np.uint8), connectivity=4)
    return float(stats[1:, cv2.CC_STAT_AREA].max(initial=0) / np.count_nonzero(mask))


def seam(result: Pixels, target: Pixels, mask: Pixels) -> float:
    """How steep the luminance is across the mask's edge, as a multiple of what it is 8 pixels inside and outside: 1 for no trace of it.

    The edge is where the mask passes one half. Luminance (0 to 255, blurred by one pixel, so that grain says little) is derived along the
    edge's normal, in a ring three pixels wide on the edge and in two such rings, 8 pixels to either side. Most jaws and some hairlines lie
    on the edge and are steep by themselves; so from each pixel on the edge the target's own steepness is taken off, and what is left, the
    swap's, comes on top of 1:

        1 + mean over the edge of max(0, |result's| - |target's|) / mean over the two rings of |result's|

    Where the target is alike everywhere this is the plain quotient. Means, as a seam along a third of the edge shall count; nothing below
    0, lest a stretch that became smoother pays for one that became steep.

    A mask may be wider than the blending under it. So the 6 pixels inside the edge count as well, where the target's own edges cannot be
    told from the new face's: mean of |result's| / mean of |target's|. The larger of the two is the seam. Raises ValueError for a mask
    without an edge.
    """
    y0, x0, y1, x1 = _around(mask)
    result, target, mask = (np.ascontiguousarray(one[y0:y1, x0:x1]) for one in (result, target, mask))
    depth = _depth(mask > 127)
    edge, beside = np.abs(depth) <= HALF, np.abs(np.abs(depth) - AWAY) <= HALF
    if not (edge.any() and beside.any()):
        raise ValueError("the mask has no edge")
    after, before = (_across(picture, depth) for picture in (result, target))
    added = np.maximum(after - before, 0)[edge].mean() / after[beside].mean()
    inside = (depth > 0) & (depth <= INSIDE)
    return float(max(1 + added, after[inside].mean() / before[inside].mean()))


def landmarks(found: Person, target: Person) -> float:
    """How far the result's face is from where the target's was: the mean distance of the 468 points of the two meshes in the picture, as
    a share of the distance between the middles of the target's eyes."""
    there = _points(target)
    left, right = (there[list(eye.lids)].mean(0) for eye in EYES)
    return float(np.linalg.norm(_points(found) - there, axis=1).mean() / np.linalg.norm(left - right))


def _points(who: Person) -> Mesh:
    """(468, 2) in the picture."""
    points: Mesh = (who.mesh[:VERTICES, :2].astype(np.float64) - who.matrix[:, 2]) @ np.linalg.inv(who.matrix[:, :2]).T
    return points


def _around(mask: Pixels) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask)
    room = int(AWAY) + 8
    return max(0, y - room), max(0, x - room), y + height + room, x + width + room


def _depth(inside: NDArray[np.bool_]) -> Floats:
    """(h, w): pixels from the edge, positive inside."""
    within = inside.astype(np.uint8)
    deep, far = (np.asarray(cv2.distanceTransform(one, cv2.DIST_L2, 5), np.float32) for one in (within, 1 - within))
    return np.asarray(np.where(inside, deep - 0.5, 0.5 - far), np.float32)


def _across(bgr: Pixels, depth: Floats) -> Floats:
    """(h, w): levels a pixel by which the luminance changes along the normal of the edge that is nearest."""
    grey = cv2.GaussianBlur(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.float32), (0, 0), 1)
    x, y = _slopes(np.asarray(cv2.GaussianBlur(depth, (0, 0), 2), np.float32))
    along_x, along_y = _slopes(np.asarray(grey, np.float32))
    return np.asarray(np.abs(along_x * x + along_y * y) / (np.hypot(x, y) + 1e-6), np.float32)


def _slopes(field: Floats) -> tuple[Floats, Floats]:
    x, y = cv2.Sobel(field, cv2.CV_32F, 1, 0), cv2.Sobel(field, cv2.CV_32F, 0, 1)
    return np.asarray(x / 8, np.float32), np.asarray(y / 8, np.float32)  # eight: what the weights sum up to
