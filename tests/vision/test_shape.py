"""Posing, retargeting and visibility of meshes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serve_app.engines.weights import load_topology
from serve_app.vision.mesh import LIPS, NOSE_TIP, OVAL, Mesh
from serve_app.vision.shape import FaceShape
from tests.gallery import gallery


@pytest.fixture
def face(builtin_weights: Path) -> FaceShape:
    return FaceShape(load_topology(builtin_weights))


def upright(builtin_weights: Path, yaw: float = 0.0) -> Mesh:
    """The canonical face as a picture sees it: 10 pixels a centimetre, y down, smaller z nearer. Turned to the image's right."""
    x, y, z = load_topology(builtin_weights).vertices.astype(np.float64).T
    cos, sin = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    return np.stack([cos * x + sin * z, -y, sin * x - cos * z], 1) * 10 + [200, 200, 0]


def test_a_face_is_posed_like_its_own_turned_self(face: FaceShape, builtin_weights: Path) -> None:
    front, turned = upright(builtin_weights), upright(builtin_weights, 35) * 1.7
    np.testing.assert_allclose(face.pose(front, turned).apply(front), turned, atol=1e-6)


def test_retargeting_keeps_the_targets_outline_and_mouth(face: FaceShape, builtin_weights: Path) -> None:
    people = gallery(builtin_weights)
    source, target = (person.mesh[:468].astype(np.float64) for person in (people.astronaut, people.six[2]))
    posed = face.pose(source, target).apply(source)
    np.testing.assert_array_equal(face.retarget(posed, target, 0), target[:, :2])
    moved = face.retarget(posed, target, 1)
    np.testing.assert_allclose(moved[list(OVAL + LIPS)], target[list(OVAL + LIPS), :2])
    shift = np.linalg.norm(moved - target[:, :2], axis=1)
    assert 1 < shift.max() < 15  # pixels, of a face of 132
    halfway = face.retarget(posed, target, 0.5)
    np.testing.assert_allclose(halfway, (moved + target[:, :2]) / 2)


def test_retargeting_does_not_open_or_close_eyes(face: FaceShape, builtin_weights: Path) -> None:
    people = gallery(builtin_weights)
    source, target = (person.mesh[:468].astype(np.float64) for person in (people.astronaut, people.six[5]))
    moved = face.retarget(face.pose(source, target).apply(source), target, 1)
    for top, bottom in ((159, 145), (386, 374)):
        np.testing.assert_allclose(moved[top] - moved[bottom], target[top, :2] - target[bottom, :2])


def test_a_turned_head_hides_the_far_cheek(face: FaceShape, builtin_weights: Path) -> None:
    left_cheek, right_cheek = 234, 454
    front = face.facing(upright(builtin_weights))
    assert front[NOSE_TIP] > 0.5
    assert front[left_cheek] == pytest.approx(front[right_cheek], abs=0.05)
    turned = face.facing(upright(builtin_weights, 50))
    assert turned[right_cheek] < 0 < turned[left_cheek]
    other = face.facing(upright(builtin_weights, -50))
    assert other[left_cheek] < 0 < other[right_cheek]


def test_areas_and_means_over_triangles(face: FaceShape, builtin_weights: Path) -> None:
    points = upright(builtin_weights)[:, :2]
    np.testing.assert_allclose(face.areas(points * 3), 9 * face.areas(points))
    np.testing.assert_allclose(face.per_vertex(np.full(len(face.triangles), 2.5)), 2.5)
