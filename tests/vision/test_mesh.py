"""The face's topology and what a mesh tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serve_app.engines.weights import load_topology
from serve_app.vision.mesh import CHIN, FEATURES, FOREHEAD_TOP, LEFT_EYE, MOUTH, OVAL, RIGHT_EYE, Topology, distance_to, face_size, openness


@pytest.fixture
def topology(builtin_weights: Path) -> Topology:
    return load_topology(builtin_weights)


def test_the_features_lie_where_a_face_has_them(topology: Topology) -> None:
    at = topology.vertices
    lips, left_eye, right_eye, left_brow, right_brow = (at[list(feature)].mean(0) for feature in FEATURES)
    assert left_eye[0] < lips[0] < right_eye[0]
    assert at[CHIN, 1] < lips[1] < left_eye[1] < left_brow[1] < at[FOREHEAD_TOP, 1]
    assert right_eye[1] < right_brow[1]
    np.testing.assert_array_equal(np.sort(topology.mirror[list(LEFT_EYE)]), np.sort(RIGHT_EYE))


def test_the_triangles_close_the_mouth_and_end_at_the_oval(topology: Topology) -> None:
    edges = np.sort(topology.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    border = set(unique[counts == 1].ravel().tolist())
    assert set(OVAL) <= border
    assert not border & set(MOUTH)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vertices", np.zeros((467, 3), np.float32), "468"),
        ("vertices", np.full((468, 3), np.nan, np.float32), "finite"),
        ("triangles", np.full((898, 3), 468), "triangles"),
        ("triangles", np.zeros((898, 3)), "triangles"),
        ("mirror", np.roll(np.arange(468), 1), "mirror"),
        ("rigid_weights", np.zeros(468), "rigid_weights"),
        ("rigid_weights", np.full(468, -1.0), "rigid_weights"),
    ],
)
def test_a_topology_that_does_not_fit_together_is_refused(topology: Topology, field: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(topology, **{field: value})


def test_measures_of_a_mesh() -> None:
    mesh = np.zeros((468, 3))
    mesh[1], mesh[2], mesh[3], mesh[4] = (0, 0, 5), (40, 0, 0), (20, -5, 0), (20, 5, 9)
    assert face_size(mesh) == 40
    assert openness(mesh, 3, 4, 1, 2) == pytest.approx(0.25)
    assert openness(np.zeros((468, 3)), 3, 4, 1, 2) == 0
    np.testing.assert_allclose(distance_to(mesh.astype(np.float32), [1, 2])[[1, 2, 0]], [0, 0, 5])
