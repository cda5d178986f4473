"""Where a face looks: its irises, moved between its lids."""

from __future__ import annotations

import cv2
import numpy as np

from serve_app.vision.face import Pixels
from serve_app.vision.mask import polygon, smooth_step
from serve_app.vision.mesh import EYES, Eye, Mesh, openness, yaw

_REACH = 2.6  # radii of the iris about it over which the white of the eye gives way
_ALONG, _ACROSS = 0.9, 0.3  # radii that an iris is moved at most; across the lids less, for what they cover cannot be shown
_SHUT = 0.15  # openness of an eye that shows too little of its iris
_SAME, _OTHER = 30.0, 60.0  # degrees between two heads, from where on their lids say less and less about each other, and nothing
_SIDEWAYS = 0.3  # radius of the iris, as a share of the eye's width, of an eye seen too much from the side


def looking_like(pixels: Pixels, mesh: Mesh, target: Mesh) -> Pixels:
    """A picture (h, w, 3) uint8 of the face `mesh`, its irises between the lids as the target's are.

    Both meshes are (478, 3), each in pixels of its own picture. The same array where nothing is to be moved.
    """
    share = float(np.clip((_OTHER - abs(yaw(mesh) - yaw(target))) / (_OTHER - _SAME), 0, 1))
    for eye in EYES:
        if _shows(mesh, eye) and _shows(target, eye):
            step = _wanted(mesh[:, :2], target[:, :2], eye) - mesh[eye.iris[0], :2]
            pixels = _moved(pixels, mesh[:, :2], eye, share * step)
    return pixels


def _shows(mesh: Mesh, eye: Eye) -> bool:
    width = float(np.linalg.norm(mesh[eye.gap[2], :2] - mesh[eye.gap[3], :2]))
    return openness(mesh, *eye.gap) > _SHUT and 1 < _radius(mesh, eye) < _SIDEWAYS * width


def _radius(mesh: Mesh, eye: Eye) -> float:
    middle, *ring = (mesh[vertex, :2] for vertex in eye.iris)
    return float(np.linalg.norm(np.array(ring) - middle, axis=1).mean())


def _wanted(points: Mesh, target: Mesh, eye: Eye) -> Mesh:
    """(2,): the middle of the target's iris, carried over as its lids go onto these lids."""
    lids = list(eye.lids)
    carry, *_ = np.linalg.lstsq(np.column_stack([target[lids], np.ones(len(lids))]), points[lids], rcond=None)
    wanted: Mesh = np.append(target[eye.iris[0]], 1.0) @ carry
    return wanted


def _moved(pixels: Pixels, points: Mesh, eye: Eye, step: Mesh) -> Pixels:
    middle, lids, radius = points[eye.iris[0]], points[list(eye.lids)], _radius(points, eye)
    along = points[eye.gap[3]] - points[eye.gap[2]]
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    across = np.array([-along[1], along[0]])
    limits = np.array([_ALONG, _ACROSS]) * radius
    shift = np.clip(np.stack([along, across]) @ step, -limits, limits) @ np.stack([along, across])
    x0, y0 = np.maximum(np.floor(lids.min(0)) - 2, 0).astype(int)
    x1, y1 = np.minimum(np.ceil(lids.max(0)) + 3, pixels.shape[1::-1]).astype(int)
    if x0 >= x1 or y0 >= y1 or np.hypot(*shift) < 0.05 * radius:
        return pixels
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    away = np.hypot(x - (middle + shift)[0], y - (middle + shift)[1]) / radius
    share = smooth_step((_REACH - away) / (_REACH - 1)) * polygon(away.shape, [lids - [x0, y0]])
    map_x, map_y = (place - np.float32(step) * share for place, step in zip((x, y), shift, strict=True))
    result = pixels.copy()
    result[y0:y1, x0:x1] = cv2.remap(pixels, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return result
