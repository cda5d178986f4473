"""Piecewise affine warping: which triangle covers a pixel, and where that pixel comes from.

An index image holds for each pixel 0 (no triangle) or the triangle's number plus one.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from serve_app.vision.face import Floats, Pixels
from serve_app.vision.geometry import similarity
from serve_app.vision.mesh import Indices, Mesh

_SUBPIXEL = 4  # bits of fraction for OpenCV's drawing
_STEEPEST = 6.0


def rasterise(points: Mesh, depth: Mesh, triangles: Indices, shape: tuple[int, int]) -> NDArray[np.intp]:
    """The (h, w) index image of a mesh: (V, 2) points, (V,) depth (smaller is nearer). Nearer triangles cover farther ones."""
    index = np.zeros(shape, np.int32)
    order = np.argsort(-depth[triangles].sum(1), kind="stable")
    corners = np.round(np.clip(points, -1e5, 1e5) * (1 << _SUBPIXEL)).astype(np.int32)[triangles[order]]
    fill = cv2.fillConvexPoly
    for number, corner in zip((order + 1).tolist(), corners, strict=True):
        fill(index, corner, number, cv2.LINE_8, _SUBPIXEL)
    return index.astype(np.intp)


def affine_maps(points: Mesh, source: Mesh, triangles: Indices) -> Floats:
    """(T + 1, 6) float32: for each index (x, y) -> (ax + by + c, dx + ey + f), from `points` to `source`, (V, 2) both.

    Row 0, for pixels outside the mesh, is the whole mesh's similarity. A triangle seen edge-on would fling its border pixels far
    away: its slopes are held down, around the centre, which stays exact.
    """
    here, there = points[triangles], source[triangles]
    u, v = here[:, 1] - here[:, 0], here[:, 2] - here[:, 0]
    det = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    flat = np.abs(det) < 1e-3
    det = np.where(flat, 1.0, det)
    p, q = there[:, 1] - there[:, 0], there[:, 2] - there[:, 0]
    slopes = np.stack([p * v[:, 1:] - q * u[:, 1:], q * u[:, :1] - p * v[:, :1]], 2) / det[:, None, None]
    steep = np.sqrt((slopes**2).sum((1, 2)))
    slopes *= np.where(flat, 0.0, np.minimum(1, _STEEPEST / np.maximum(steep, 1e-9)))[:, None, None]
    constant = there.mean(1) - np.einsum("tij,tj->ti", slopes, here.mean(1))
    maps = np.concatenate([slopes, constant[:, :, None]], 2)
    rest = similarity(points, source).matrix[None]
    return np.ascontiguousarray(np.concatenate([rest, maps]).reshape(-1, 6), np.float32)


def dense_map(index: NDArray[np.intp], maps: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The two (h, w) maps that cv2.remap wants, for an index image whose columns lie at x (w,) and rows at y (h,)."""
    chosen = maps.take(index.ravel(), axis=0).reshape(*index.shape, 6)
    row = y[:, None]
    map_x = chosen[..., 0] * x
    map_x += chosen[..., 1] * row
    map_x += chosen[..., 2]
    map_y = chosen[..., 3] * x
    map_y += chosen[..., 4] * row
    map_y += chosen[..., 5]
    return map_x, map_y


def spread(values: Mesh, index: NDArray[np.intp], triangles: Indices) -> Floats:
    """(h, w) float32: each triangle's mean of its (V,) vertex values, 0 outside the mesh."""
    flat = np.concatenate([[0.0], values[triangles].mean(1)]).astype(np.float32)
    return flat[index]


def sample(pixels: Pixels, map_x: Floats, map_y: Floats) -> Pixels:
    """Pixels fetched through the maps, bicubic; past the border its pixels repeat."""
    warped = cv2.remap(pixels, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
