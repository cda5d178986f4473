"""What stays the target's inside a swapped face: eyes and the mouth's inside, where the source cannot supply them."""

from __future__ import annotations

import cv2
import numpy as np

from serve_app.vision.face import Floats
from serve_app.vision.mask import blur, hull, polygon
from serve_app.vision.mesh import EYES, MOUTH, Mesh, openness

_MOUTH_GAP = (13, 14, 78, 308)


def kept(shape: tuple[int, int], source: Mesh, target: Mesh, points: Mesh, size: float) -> Floats:
    """(h, w) float32: 1 where the target's own pixels stay.

    source, target: (468, 3) meshes, their scale does not matter; points: the target's (468, 2) in the view; size: of its face there.
    """
    free = np.ones(shape, np.float32)
    for eye in EYES:
        # a warp makes no lids for an open eye, no iris for a shut one
        share = _unlike(openness(target, *eye.gap), openness(source, *eye.gap))
        if share > 0:
            free *= 1 - share * _eye(shape, points[list(eye.lids)], size)
    free *= 1 - _mouth(shape, openness(source, *_MOUTH_GAP), openness(target, *_MOUTH_GAP), points, size)
    return 1 - free


def _unlike(a: float, b: float) -> float:
    return float(np.clip((0.62 - min(a / (b + 1e-6), b / (a + 1e-6))) / 0.2, 0, 1))


def _eye(shape: tuple[int, int], lids: Mesh, size: float) -> Floats:
    middle = lids.mean(0)
    inside = polygon(shape, [hull(middle + 1.25 * (lids - middle), range(len(lids)))])
    reach = max(1, int(size * 0.02))
    grown = cv2.dilate(inside, np.ones((2 * reach + 1, reach + 1), np.uint8))
    return blur(np.asarray(grown, np.float32), size * 0.014)


def _mouth(shape: tuple[int, int], source_gap: float, target_gap: float, points: Mesh, size: float) -> Floats | float:
    opened = float(np.clip((target_gap - source_gap - 0.04) / 0.08, 0, 1))
    if opened > 0:  # nothing to show between the lips: the target's own teeth
        return np.float32(opened) * blur(polygon(shape, [points[list(MOUTH)]]), max(0.7, size * 0.006))
    squeezed = float(np.clip((source_gap - target_gap - 0.05) / 0.08, 0, 1) * np.clip((0.06 - target_gap) / 0.04, 0, 1))
    if squeezed > 0:  # the source's teeth pressed into a line: the target's closed lips
        return np.float32(squeezed) * _lip_line(shape, points, size)
    return 0.0


def _lip_line(shape: tuple[int, int], points: Mesh, size: float) -> Floats:
    lower, upper = list(MOUTH[:11]), [MOUTH[0], *MOUTH[:10:-1], MOUTH[10]]
    middle = (points[lower] + points[upper]) / 2
    radius = max(1, round(size * 0.014))
    line = np.zeros(shape, np.float32)
    cv2.polylines(line, [np.round(middle * 16).astype(np.int32)], False, 1.0, 2 * radius, cv2.LINE_AA, 4)
    return blur(line, max(0.7, radius * 0.6))
