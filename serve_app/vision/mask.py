"""Where a swapped face may show: the face's outline, bare skin, and the picture's own border. Masks are (h, w) float32 in 0..1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from serve_app.vision.face import Floats, Pixels
from serve_app.vision.mesh import (
    CHEEKS,
    CHIN,
    FEATURES,
    FOREHEAD_TOP,
    LEFT_BROW,
    LEFT_EYE,
    LIPS,
    NOSE_ROOT,
    NOSE_TIP,
    OVAL,
    RIGHT_BROW,
    RIGHT_EYE,
    Mesh,
)
from serve_app.vision.view import View

_BROW_TO_TOP = (
    (70, 54), (63, 103), (105, 67), (66, 109), (107, 10), (9, 10), (336, 10), (296, 338), (334, 297), (293, 332), (300, 284),
)  # fmt: skip
_NOSE = (NOSE_ROOT, 6, 197, 195, 5, NOSE_TIP, 1, 2, 48, 98, 129, 278, 327, 358)
_CENTRE = (*LEFT_BROW, *RIGHT_BROW, *LEFT_EYE, *RIGHT_EYE, *LIPS)
_UPPER_FACE = (*LEFT_EYE, *RIGHT_EYE, *LEFT_BROW, *RIGHT_BROW, NOSE_TIP, 48, 278)


def polygon(shape: tuple[int, int], outlines: Iterable[Mesh]) -> Floats:
    """One where any of the (n, 2) outlines lies, with smooth edges."""
    canvas = np.zeros(shape, np.uint8)
    for outline in outlines:
        corners = np.round(np.clip(outline, -1e5, 1e5) * 16).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) * np.float32(1 / 255)


def hull(points: Mesh, chosen: Sequence[int]) -> Mesh:
    """(n, 2) float64: the convex outline of the chosen points."""
    outline: Mesh = cv2.convexHull(points[list(chosen)].astype(np.float32))[:, 0].astype(np.float64)
    return outline


def features(shape: tuple[int, int], *meshes: Mesh) -> Floats:
    """Lips, eyes and brows of all the (468, 2) meshes."""
    return polygon(shape, (hull(points, chosen) for points in meshes for chosen in FEATURES))


def blur(field: Floats, sigma: float) -> Floats:
    """Gaussian blur, sigma in pixels."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), max(0.4, sigma)), np.float32)


def smooth_step(field: Floats) -> Floats:
    x = np.clip(field, 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)


def outline(view: View, feather: float, forehead: float) -> Floats:
    """The face's oval, its top lowered to `forehead` (0 at the brows, 1 at the top of the mesh), faded inwards over `feather` faces."""
    up = _up(view.points)
    oval = view.points[list(OVAL)]
    height = oval @ up
    brows = float((view.points[list(LEFT_BROW + RIGHT_BROW)] @ up).max())
    top = float(view.points[FOREHEAD_TOP] @ up)
    limit = brows + forehead * max(top - brows, 0.02 * view.size)
    oval = oval - np.maximum(height - limit, 0)[:, None] * up
    inside = polygon(view.shape, [oval, *_protruding(view)]) > 0.5
    # no fading towards the view's own border: a face that it cuts goes on there
    padded = cv2.copyMakeBorder(inside.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return smooth_step(np.asarray(depth, np.float32) / max(1.5, view.size * feather))


def _protruding(view: View) -> list[Mesh]:
    """Nose and lips, which reach past the oval of a turned head; of one in profile they are left out, being seen from the side."""
    oval = view.points[list(OVAL)].astype(np.float32)
    x, y = view.points[NOSE_TIP]
    if -cv2.pointPolygonTest(oval, (float(x), float(y)), True) > 0.3 * view.size:  # turned by more than some 60 degrees
        return []
    return [hull(view.points, part) for part in (_NOSE, LIPS)]


def centre(view: View) -> Floats:
    """The middle of the face, from brow to mouth, which says most about who it is; softly bordered."""
    return blur(polygon(view.shape, [hull(view.points, _CENTRE)]), view.size * 0.05)


def _up(points: Mesh) -> Mesh:
    up: Mesh = points[FOREHEAD_TOP] - points[CHIN]
    return up / max(float(np.linalg.norm(up)), 1e-6)


def not_skin(view: View) -> Floats:
    """What is clearly no skin in the upper face: hair, a hat, the rim of glasses, a hand of another colour.

    Skin is what looks like the cheeks, by median and median deviation in Lab; eyes, brows and the bridge of the nose are let through.
    """
    unit = view.size
    cheeks = polygon(view.shape, [hull(view.points, CHEEKS)]) * (1 - features(view.shape, view.points))
    skin = view.lab[cheeks > 0.8]
    if len(skin) < 30:
        return np.zeros(view.shape, np.float32)
    median = np.median(skin, 0)
    spread = np.clip(np.median(np.abs(skin - median), 0) * 1.48, [5, 2.5, 2.5], [12, 6, 6])
    away = (blur(view.lab, unit * 0.008) - median) / spread
    dark, tinted = (-away[..., 0] - 2.2) / 1.3, (np.hypot(away[..., 1], away[..., 2]) - 3.2) / 1.8
    found = np.clip(np.maximum(dark, tinted), 0, 1).astype(np.float32)
    found *= _above_nose(view) * (1 - blur(polygon(view.shape, [hull(view.points, _UPPER_FACE)]), unit * 0.012))
    found = np.asarray(cv2.morphologyEx(found, cv2.MORPH_OPEN, disc(unit * 0.012)), np.float32)
    found = np.asarray(cv2.dilate(found, disc(unit * 0.015)), np.float32)
    return np.asarray(np.minimum(blur(found, max(1, unit * 0.018)) * 1.15, 1), np.float32)


def _above_nose(view: View) -> Floats:
    """Zero below the tip of the nose, rising to one at its root."""
    up = _up(view.points)
    tip, root = view.points[NOSE_TIP] @ up, view.points[NOSE_ROOT] @ up
    height = (np.arange(view.shape[1]) * up[0])[None] + (np.arange(view.shape[0]) * up[1])[:, None]
    share: Floats = np.clip((height - tip) / max(1e-3, root - tip), 0, 1).astype(np.float32)
    return share


def disc(radius: float) -> Pixels:
    side = 2 * max(1, int(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def bare_forehead(hair: Floats, points: Mesh) -> float:
    """How far up from the brows (0) to the top of the mesh (1) the forehead is free of hair, kept within 0.12 to 0.7."""
    ways = np.array(_BROW_TO_TOP)
    heights = np.linspace(0.1, 1.0, 24)
    rows = points[ways[:, 0]] + heights[:, None, None] * (points[ways[:, 1]] - points[ways[:, 0]])
    x = np.clip(np.round(rows[..., 0]), 0, hair.shape[1] - 1).astype(np.intp)
    y = np.clip(np.round(rows[..., 1]), 0, hair.shape[0] - 1).astype(np.intp)
    covered = np.sort(hair[y, x], 1)[:, -4:].mean(1) > 0.3
    reach = heights[int(covered.argmax())] if covered.any() else 1.0
    return float(np.clip(reach - 0.12, 0.12, 0.7))


def photographed(pixels: Pixels) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1): the part of a square that is not a mere repetition of its border rows and columns."""
    y0, y1 = _changing(pixels)
    x0, x1 = _changing(pixels.transpose(1, 0, 2))
    return x0, y0, x1, y1


def _changing(lines: Pixels) -> tuple[int, int]:
    first, last = 0, len(lines)
    while first < last - 1 and np.array_equal(lines[first], lines[first + 1]):
        first += 1
    if first == last - 1:
        return 0, last  # all of one colour: nothing tells where a photograph ends
    while np.array_equal(lines[last - 1], lines[last - 2]):
        last -= 1
    return first, last


def within(shape: tuple[int, int], box: Sequence[float], fade: float) -> Floats:
    """One inside the box (x0, y0, x1, y1), fading to zero at those of its sides that lie in the view, over `fade` pixels."""
    falls = []
    for low, high, length in ((box[1], box[3], shape[0]), (box[0], box[2], shape[1])):
        at = np.arange(length, dtype=np.float32)
        near = (at - low - 1) / fade if low > -fade else np.ones_like(at)
        far = (high - 2 - at) / fade if high < length + fade else np.ones_like(at)
        falls.append(np.minimum(near, far))
    return smooth_step(np.minimum(falls[0][:, None], falls[1][None]))
