"""The source's skin on the target's mesh: direct where the camera saw it, mirrored from the face's other half where it did not."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serve_app.vision import warp
from serve_app.vision.face import Floats, Pixels
from serve_app.vision.mask import blur
from serve_app.vision.mesh import Mesh
from serve_app.vision.shape import FaceShape
from serve_app.vision.view import View

_FEWEST = 8  # vertices worth mirroring


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """index: (H, W) triangles of the target's crop. maps, mirrored: affine maps into the source's crop; mirrored is None for a source
    that hides nothing. share: (h, w) of the target's view, how much of the mirrored skin is wanted. cover: (h, w), 1 where the source
    has pixels enough, 0 outside the mesh. columns, rows: where the view's pixels lie in the target's crop."""

    index: NDArray[np.intp]
    maps: Floats
    mirrored: Floats | None
    share: Floats
    cover: Floats
    columns: Floats
    rows: Floats

    @classmethod
    def of(cls, face: FaceShape, source: Mesh, target: Mesh, points: Mesh, shape: tuple[int, int], view: View) -> Texture:
        """source: (468, 3) in the source's crop. target: (468, 3) in the target's crop of that shape, points: (468, 2) where the
        source's vertices go in it. view: of the target."""
        index = warp.rasterise(points, target[:, 2], face.triangles, shape)
        columns, rows = (
            ((np.arange(length) + 0.5) / step - 0.5).astype(np.float32) for length, step in zip(view.shape[::-1], view.step, strict=True)
        )
        coarse = _at(index, columns, rows)
        trust, hidden = _trust(face, source, points), _hidden(face, source)
        maps, mirrored = warp.affine_maps(points, source[:, :2], face.triangles), None
        share = np.zeros(view.shape, np.float32)
        if np.count_nonzero(hidden > 0.05) > _FEWEST:
            mirrored = warp.affine_maps(points, source[face.mirror, :2], face.triangles)
            share = blur(warp.spread(hidden, coarse, face.triangles), view.size * 0.03)
            trust = np.maximum(trust, hidden)
        cover = (coarse > 0).astype(np.float32)
        if trust.min() < 0.9:
            cover *= blur(warp.spread(trust, coarse, face.triangles), view.size * 0.035)
        return cls(index, maps, mirrored, share, cover, columns, rows)

    def small(self, layers: Floats, source: View, mirrored: bool) -> Floats:
        """(h, w, c): layers over the source's view, laid out over the target's view."""
        maps = self.mirrored if mirrored and self.mirrored is not None else self.maps
        x, y = warp.dense_map(_at(self.index, self.columns, self.rows), maps, self.columns, self.rows)
        across, down = (np.float32(step) for step in source.step)
        half = np.float32(0.5)
        x, y = (x + half) * across - half, (y + half) * down - half
        return np.asarray(cv2.remap(layers, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)

    def full(self, pixels: Pixels, box: tuple[int, int, int, int], view: View, brightness: Floats) -> Floats:
        """(h, w, 3) float32 in 0..255: the source's pixels in the box (x0, y0, x1, y1) of the target's crop.

        brightness: (h, w) of the view, a factor for the mirrored skin.
        """
        x0, y0, x1, y1 = box
        index = self.index[y0:y1, x0:x1]
        columns, rows = np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32)
        warped = warp.sample(pixels, *warp.dense_map(index, self.maps, columns, rows)).astype(np.float32)
        if self.mirrored is not None:
            other = warp.sample(pixels, *warp.dense_map(index, self.mirrored, columns, rows)) * view.enlarge(brightness, box)[..., None]
            other -= warped
            other *= view.enlarge(self.share, box)[..., None]
            warped += other
        return warped


def _at(index: NDArray[np.intp], columns: Floats, rows: Floats) -> NDArray[np.intp]:
    return index[np.round(rows).astype(np.intp)[:, None], np.round(columns).astype(np.intp)]


def _trust(face: FaceShape, source: Mesh, points: Mesh) -> Mesh:
    """(468,) in 0..1: low where the target's skin would be drawn out of too few pixels of the source."""
    ratio = face.areas(points) / np.maximum(face.areas(source[:, :2]), 0.15)
    ratio /= max(float(np.median(ratio)), 1e-6)
    trust = np.clip((5 - face.per_vertex(ratio)) / 2.5, 0, 1)
    trust[face.central] = 1
    return trust


def _hidden(face: FaceShape, source: Mesh) -> Mesh:
    """(468,) in 0..1: high where the source hides a spot of skin but shows its mirror image."""
    facing = face.facing(source)
    hidden: Mesh = np.clip((facing[face.mirror] - facing - 0.3) / 0.3, 0, 1) * np.clip((0.4 - facing) / 0.25, 0, 1)
    return hidden
