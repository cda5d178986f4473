"""A face at working size: where colours and masks are computed, whatever the size of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from serve_app.vision.face import Floats, Pixels
from serve_app.vision.mesh import Mesh, face_size


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A face and its mesh, shrunk so that the face measures about `size` pixels or less.

    bgr: (h, w, 3) float32 in 0..1. lab: the same in CIE L*a*b* (L 0..100). points: (468, 2) float64 in these pixels.
    size: the longer side of the mesh. step: (2,) pixels of the view for one of the picture, across and down.
    """

    bgr: Floats
    lab: Floats
    points: Mesh
    size: float
    step: Mesh

    @classmethod
    def of(cls, pixels: Pixels, mesh: Mesh, working_size: float) -> View:
        """From (H, W, 3) uint8 pixels and a mesh in them."""
        height, width = pixels.shape[:2]
        factor = min(1.0, working_size / face_size(mesh))
        small = (max(1, round(width * factor)), max(1, round(height * factor)))
        if factor < 1:
            pixels = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
        bgr = pixels.astype(np.float32)
        bgr *= np.float32(1 / 255)
        step = np.array(small) / (width, height)
        points = (mesh[:, :2] + 0.5) * step - 0.5
        return cls(bgr, to_lab(bgr), points, face_size(points), step)

    @property
    def shape(self) -> tuple[int, int]:
        return self.bgr.shape[0], self.bgr.shape[1]

    def box(self, field: Floats, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) in pixels of the picture, which has that shape: what the (h, w) field over the view covers."""
        x, y, width, height = cv2.boundingRect((field > 0).astype(np.uint8))
        across, down = self.step
        x0, y0 = max(0, int((x - 1) / across)), max(0, int((y - 1) / down))
        return x0, y0, min(shape[1], int((x + width + 1) / across) + 1), min(shape[0], int((y + height + 1) / down) + 1)

    def enlarge(self, field: Floats, box: tuple[int, int, int, int]) -> Floats:
        """The part of the picture in the box (x0, y0, x1, y1), out of an (h, w) or (h, w, 3) field over the view."""
        x0, y0, x1, y1 = box
        if (self.step == 1).all():
            return field[y0:y1, x0:x1]
        across, down = self.step
        back = np.array([[across, 0, (x0 + 0.5) * across - 0.5], [0, down, (y0 + 0.5) * down - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(field, back, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def to_lab(bgr: Floats) -> Floats:
    """BGR in 0..1 to CIE L*a*b*, float32 both."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB), np.float32)


def to_bgr(lab: Floats) -> Floats:
    """CIE L*a*b* to BGR in 0..1, float32 both."""
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), np.float32)
