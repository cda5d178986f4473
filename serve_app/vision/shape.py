"""The shape of a face: posing one person's mesh like another's, and which parts of a mesh can be seen."""

from __future__ import annotations

import numpy as np

from serve_app.vision.geometry import Similarity, similarity
from serve_app.vision.mesh import LEFT_EYE, LIPS, MOUTH, OVAL, RIGHT_EYE, VERTICES, Mesh, Topology, distance_to

_NOSE = (1, 2, 4, 5, 195, 197, 6, 168, 98, 327)
_EYE_CORNERS = ((33, 133), (263, 362))


class FaceShape:
    """What follows from the topology alone, computed once. Never changed after that, so threads may share it.

    Distances are centimetres on the canonical face.
    """

    def __init__(self, topology: Topology) -> None:
        vertices = topology.vertices
        self.triangles = topology.triangles.astype(np.intp)
        self.mirror = topology.mirror.astype(np.intp)
        self._rigid = np.maximum(topology.rigid_weights, 1e-3)
        # the outline stays the target's, and the lips move with the target's expression
        self._own = np.clip(distance_to(vertices, OVAL) / 4.0, 0, 1) * np.clip(distance_to(vertices, LIPS + MOUTH) / 2.5, 0, 1)
        self._sockets = [np.flatnonzero(distance_to(vertices, eye) < 0.45) for eye in (LEFT_EYE, RIGHT_EYE)]
        self.central = distance_to(vertices, LEFT_EYE + RIGHT_EYE + LIPS + _NOSE) < 1.2
        corners = vertices[self.triangles].astype(np.float64)
        outward = corners.mean(1) - [0.0, 0.0, -8.0]
        self._winding = float(np.sign((_normals(corners) * outward).sum(1).mean()))
        self._flat = self.triangles.ravel()
        self._degree = np.maximum(np.bincount(self._flat, minlength=VERTICES), 1)

    def pose(self, source: Mesh, target: Mesh) -> Similarity:
        """Turns, scales and shifts the source's (468, 3) mesh onto the target's, by the points that expressions move least."""
        return similarity(source, target, self._rigid)

    def retarget(self, posed: Mesh, target: Mesh, amount: float) -> Mesh:
        """(468, 2): the target's mesh with `amount` (0 to 1) of the posed source's own proportions.

        The eyes move as a whole, so that lids and gaze keep the target's shape.
        """
        shift = (posed - target)[:, :2].copy()
        for socket, corners in zip(self._sockets, _EYE_CORNERS, strict=True):
            shift[socket] = shift[list(corners)].mean(0)
        moved: Mesh = target[:, :2] + amount * self._own[:, None] * shift
        return moved

    def facing(self, mesh: Mesh) -> Mesh:
        """(468,) from -1 to 1: how much the skin at each vertex faces the camera. mesh: (468, 3), smaller z is nearer."""
        normals = _normals(mesh[self.triangles])
        towards = normals[:, 2] / (np.sqrt((normals**2).sum(1)) + 1e-9)
        return self.per_vertex(-self._winding * towards)

    def per_vertex(self, values: Mesh) -> Mesh:
        """(468,): the mean of the adjoining triangles' values."""
        mean: Mesh = np.bincount(self._flat, weights=np.repeat(values, 3), minlength=VERTICES) / self._degree
        return mean

    def areas(self, points: Mesh) -> Mesh:
        """(triangles,): area of each triangle of (468, 2) points."""
        a, b, c = points[self.triangles].transpose(1, 0, 2)
        u, v = b - a, c - a
        area: Mesh = 0.5 * np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
        return area


def _normals(corners: Mesh) -> Mesh:
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.stack(
        [u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1], u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2], u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]], 1
    )
