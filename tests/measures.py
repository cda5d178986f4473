"""What tests measure on pictures: how much of a person is in a swapped face, and how far colours are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_cie76, deltaE_ciede2000, rgb2lab

from serve_app.vision import mask, warp
from serve_app.vision.geometry import similarity
from serve_app.vision.mesh import EYES, MOUTH, OVAL, VERTICES, Topology, distance_to, openness
from serve_app.vision.shape import FaceShape
from tests.gallery import Person

# Where ArcFace wants the five points in its 112 x 112 pixels.
ARCFACE_TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
ALIGNED = 112

# Measured (docs/decisions/0009): with 1.5 to 3 pixels every result is nearer to its own source than to anybody else's face; broader
# structure is light.
DETAIL_SIGMA = 2.0
IDENTITY_MARGIN = 0.06  # of two sources; measured: 0.086 and more
RIM = 3.0  # centimetres of the canonical face over which the outline fades: it is the target's


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """A face turned to the front.

    luminance: (112, 112) float32, 0 to 255. seen: (112, 112) float32, 0 to 1, how well the camera saw the skin there; 0 in the mouth and
    towards the outline. eyes: height of the left and the right one as a share of its width.
    """

    luminance: NDArray[np.float32]
    seen: NDArray[np.float32]
    eyes: tuple[float, float]

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
        inward = np.clip(distance_to(topology.vertices, OVAL) / RIM, 0, 1)
        mouth = mask.polygon((ALIGNED, ALIGNED), [self._front[list(MOUTH)]])
        self._inner = warp.spread(inward, self._index, self._face.triangles) * (1 - mouth)
        self._eyes = [self._around(eye.lids) for eye in EYES]

    def _around(self, eye: Sequence[int]) -> NDArray[np.float32]:
        points = self._front[list(eye)]
        middle = points.mean(0)
        return mask.polygon((ALIGNED, ALIGNED), [mask.hull(middle + 1.6 * (points - middle), range(len(points)))])

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
        seen = self._inner * warp.spread(facing, self._index, self._face.triangles)
        left, right = (openness(mesh, *eye.gap) for eye in EYES)
        return Aligned(np.asarray(luminance, np.float32), seen, (left, right))

    def lead(self, result: Aligned, own: Aligned, others: Sequence[Aligned]) -> tuple[float, int]:
        """How much more the result looks like its own source than like the nearest of the others, and which of them that is.

        Each is compared over the skin that it, the result and the source show. Eyes count where the result's are as far open as its
        source's: otherwise they are the target's.
        """
        skin = self._shared(result, own)
        leads = [result.likeness(own, skin * other.seen) - result.likeness(other, skin * other.seen) for other in others]
        nearest = int(np.argmin(leads))
        return leads[nearest], nearest

    def gain(self, result: Aligned, own: Aligned, target: Aligned) -> float:
        """How much more the result looks like its source than the target did: 0 where nothing was swapped."""
        skin = self._shared(result, own) * target.seen
        return result.likeness(own, skin) - target.likeness(own, skin)

    def _shared(self, result: Aligned, own: Aligned) -> NDArray[np.float32]:
        skin = result.seen * own.seen
        for around, a, b in zip(self._eyes, result.eyes, own.eyes, strict=True):
            alike = float(np.clip((min(a, b) / (max(a, b) + 1e-6) - 0.42) / 0.2, 0, 1))
            skin = skin * (1 - around * np.float32(1 - alike))
        return skin


def _five(mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """(5, 2): middles of the eyes, tip of the nose, corners of the mouth."""
    groups = ((33, 133, 145, 159), (263, 362, 374, 386), (1, 4), (61,), (291,))
    return np.array([mesh[list(group), :2].mean(0) for group in groups])


def mean_lab(bgr: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(3,): mean CIE L*a*b* of the chosen pixels."""
    lab = np.asarray(cv2.cvtColor(bgr.astype(np.float32) / 255, cv2.COLOR_BGR2LAB), np.float32)
    return np.asarray(lab[where].mean(0), np.float32)


def colour_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIEDE2000 of two pictures in sRGB, (..., 3) RGB."""
    return np.asarray(deltaE_ciede2000(rgb2lab(one), rgb2lab(other)))  # type: ignore[no-untyped-call]  # no annotation


def euclidean_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIE76 of two pictures in sRGB, (..., 3) RGB."""
    return np.asarray(deltaE_cie76(rgb2lab(one), rgb2lab(other)))  # type: ignore[no-untyped-call]
