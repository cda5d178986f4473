"""What tests measure on pictures: how much of a person is in a swapped face, and how well the face sits in its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from serve_app.vision import warp
from serve_app.vision.geometry import similarity
from serve_app.vision.mesh import VERTICES, Topology
from serve_app.vision.shape import FaceShape
from tests.gallery import Person

# Where ArcFace wants the five points in its 112 x 112 pixels.
ARCFACE_TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
ALIGNED = 112

# Measured on the six faces of t1.jpg with the astronaut and Tom Hanks as sources (docs/decisions/0009): with 1.5 to 4 pixels every
# result is nearer to its own source than to the other; broader structure is light. At 2 the smallest lead is 0.10.
DETAIL_SIGMA = 2.0
IDENTITY_MARGIN = 0.06


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """luminance: (112, 112) float32, 0 to 255. seen: (112, 112) float32, 0 to 1, how well the camera saw the skin there."""

    luminance: NDArray[np.float32]
    seen: NDArray[np.float32]

    def detail(self) -> NDArray[np.float32]:
        """What is left without the low frequencies, so that light and the colour of skin say little."""
        return np.asarray(self.luminance - cv2.GaussianBlur(self.luminance, (0, 0), DETAIL_SIGMA), np.float32)

    def likeness(self, other: Aligned, seen: NDArray[np.float32]) -> float:
        """Correlation, -1 to 1, of the two faces' detail where `seen`."""
        weight = seen / seen.sum()
        a, b = (detail - (weight * detail).sum() for detail in (self.detail(), other.detail()))
        return float((weight * a * b).sum() / np.sqrt((weight * a * a).sum() * (weight * b * b).sum()))


class Frontal:
    """Turns measured faces to the front and onto ArcFace's five points, so that faces posed differently can be compared.

    Every pixel of the canonical face is fetched through the face's own mesh (as in Taigman et al. 2014, section 2); nothing but the
    picture itself and what was measured in it goes in.
    """

    def __init__(self, topology: Topology) -> None:
        self._face = FaceShape(topology)
        front = topology.vertices * np.array([1, -1, -1])  # x to the right, y down, smaller z is nearer
        self._front = similarity(_five(front), ARCFACE_TEMPLATE).apply(front[:, :2])
        self._index = warp.rasterise(self._front, front[:, 2], self._face.triangles, (ALIGNED, ALIGNED))

    def align(self, who: Person) -> Aligned:
        mesh = np.asarray(who.mesh[:VERTICES], np.float64)
        grey = np.asarray(cv2.cvtColor(who.square, cv2.COLOR_BGR2GRAY), np.float32)
        scale = float(np.sqrt(np.linalg.det(similarity(_five(mesh), ARCFACE_TEMPLATE).matrix[:, :2])))
        if scale < 1:  # nothing finer than a pixel of the aligned face may fold back into it
            grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.5 * np.sqrt(1 / scale**2 - 1) + 1e-3), np.float32)
        pixels = np.arange(ALIGNED, dtype=np.float32)
        maps = warp.affine_maps(self._front, mesh[:, :2], self._face.triangles)
        luminance = cv2.remap(grey, *warp.dense_map(self._index, maps, pixels, pixels), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        facing = np.clip(self._face.facing(mesh) / 0.4, 0, 1)
        return Aligned(np.asarray(luminance, np.float32), warp.spread(facing, self._index, self._face.triangles))

    def likeness(self, result: Person, sources: Sequence[Person]) -> list[float]:
        """How like each source the result looks: correlations over the skin that all of these faces show."""
        face, others = self.align(result), [self.align(source) for source in sources]
        seen = np.prod([one.seen for one in (face, *others)], axis=0, dtype=np.float32)
        return [face.likeness(other, seen) for other in others]


def _five(mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """(5, 2): middles of the eyes, tip of the nose, corners of the mouth."""
    groups = ((33, 133, 145, 159), (263, 362, 374, 386), (1, 4), (61,), (291,))
    return np.array([mesh[list(group), :2].mean(0) for group in groups])


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


def colour_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIEDE2000 of two pictures in sRGB, (..., 3) RGB."""
    return np.asarray(deltaE_ciede2000(rgb2lab(one), rgb2lab(other)))  # type: ignore[no-untyped-call]
