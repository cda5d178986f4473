"""The face mesh: which vertices make which feature, how they join up, and what a mesh tells about its face.

Vertex numbers are those of MediaPipe's face mesh: 468 vertices on the skin, ten more (468 to 477) on the irises.
"Left" and "right" are as seen in the image of a person who faces the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

VERTICES = 468
IRISES = 10

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
LEFT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
RIGHT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
CHEEKS = (50, 205, 36, 101, 118, 117, 123, 187, 280, 425, 266, 330, 347, 346, 352, 411, 4, 195, 197, 6, 151, 9, 8)


class Eye(NamedTuple):
    """Vertices of one eye. gap: as `openness` takes them. iris: its middle, then four on its border."""

    lids: tuple[int, ...]
    gap: tuple[int, int, int, int]
    iris: tuple[int, ...]


EYES = (
    Eye(LEFT_EYE, (159, 145, 33, 133), (468, 469, 470, 471, 472)),
    Eye(RIGHT_EYE, (386, 374, 362, 263), (473, 474, 475, 476, 477)),
)
FEATURES = (LIPS, LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW)

FOREHEAD_TOP, CHIN, NOSE_TIP, NOSE_ROOT = 10, 152, 4, 168

Mesh: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """The canonical face and how its vertices are joined.

    vertices: (468, 3) float32, centimetres, x to the image's right, y up, z towards the viewer.
    triangles: (898, 3) integers, the mouth's opening closed by triangles of its own.
    mirror: (468,) integers, each vertex's partner on the other half of the face.
    rigid_weights: (468,) float64, how much a vertex says about the head's pose (near zero where expressions move it).

    Raises ValueError when the shapes, the numbers or their ranges do not fit together.
    """

    vertices: NDArray[np.float32]
    triangles: Indices
    mirror: Indices
    rigid_weights: Mesh

    def __post_init__(self) -> None:
        shapes = (self.vertices.shape, self.mirror.shape, self.rigid_weights.shape, self.triangles.shape[1:])
        if shapes != ((VERTICES, 3), (VERTICES,), (VERTICES,), (3,)):
            raise ValueError(f"a face topology has {VERTICES} vertices and triangles of three, not {shapes}")
        for name in ("triangles", "mirror"):
            indices = getattr(self, name)
            if not np.issubdtype(indices.dtype, np.integer) or indices.min() < 0 or indices.max() >= VERTICES:
                raise ValueError(f"{name} must hold vertex numbers from 0 to {VERTICES - 1}")
        if not np.array_equal(self.mirror[self.mirror], np.arange(VERTICES)):
            raise ValueError("mirror must pair the vertices")
        if not (np.isfinite(self.vertices).all() and (self.rigid_weights >= 0).all() and 0 < self.rigid_weights.sum() < np.inf):
            raise ValueError("vertices must be finite; rigid_weights must not be negative, nor all zero")


def openness(mesh: Mesh, top: int, bottom: int, left: int, right: int) -> float:
    """Height of an eye or a mouth as a share of its width, in the image plane."""
    height = np.linalg.norm(mesh[top, :2] - mesh[bottom, :2])
    width = np.linalg.norm(mesh[left, :2] - mesh[right, :2])
    return float(height / (width + 1e-6))


def yaw(mesh: Mesh) -> float:
    """Degrees by which a (V, 3) mesh is turned, 0 for a face seen from the front, positive where its right half lies further back."""
    across = mesh[EYES[1].gap[3]] - mesh[EYES[0].gap[2]]
    return float(np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1]))))


def face_size(mesh: Mesh) -> float:
    """The longer side of the mesh's bounding box, in the pixels of its picture."""
    return float(np.ptp(mesh[:, :2], axis=0).max())


def distance_to(vertices: NDArray[np.float32], chosen: Sequence[int]) -> Mesh:
    """(V,) float64: each vertex's distance to the nearest of the chosen ones."""
    steps = vertices[:, None, :].astype(np.float64) - vertices[None, list(chosen), :]
    nearest: Mesh = np.sqrt((steps**2).sum(-1)).min(1)
    return nearest
