"""Irises moved between the lids, measured anew on the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serve_app.engines.facemesh import FaceMeshEngine
from serve_app.engines.weights import FACEMESH
from serve_app.vision.face import FaceSquare, Pixels
from serve_app.vision.gaze import looking_like
from serve_app.vision.mesh import EYES, Mesh
from tests.gallery import Gallery, Person, gallery


@pytest.fixture(scope="module")
def people(builtin_weights: Path) -> Gallery:
    return gallery(builtin_weights)


@pytest.fixture(scope="module")
def measure(builtin_weights: Path) -> FaceMeshEngine:
    return FaceMeshEngine(builtin_weights / FACEMESH, precision="exact")


def sideways(mesh: Mesh) -> np.ndarray:
    """(2,): where the irises lie between the corners of their eyes, 0 for the image's left one, 1 for the right one."""
    shares = []
    for eye in EYES:
        left, across = mesh[eye.gap[2], :2], mesh[eye.gap[3], :2] - mesh[eye.gap[2], :2]
        shares.append(float((mesh[eye.iris[0], :2] - left) @ across / (across @ across)))
    return np.array(shares)


def mesh_of(person: Person) -> Mesh:
    return person.mesh.astype(np.float64)


def measured(person: Person, pixels: Pixels, measure: FaceMeshEngine) -> Mesh:
    keypoints = person.keypoints + person.matrix[:, 2].astype(np.float32)
    face = FaceSquare(pixels, keypoints)
    return measure.post(face, measure.run([measure.pre(face)])[0]).astype(np.float64)


def turned(mesh: Mesh, step: float) -> Mesh:
    """Its irises moved along the eyes by so many widths of an eye."""
    changed = mesh.copy()
    for eye in EYES:
        changed[list(eye.iris), :2] += step * (mesh[eye.gap[3], :2] - mesh[eye.gap[2], :2])
    return changed


@pytest.mark.parametrize("step", [-0.15, -0.08, 0.08, 0.15])
def test_a_face_looks_where_another_looks(people: Gallery, measure: FaceMeshEngine, step: float) -> None:
    person = people.astronaut
    wanted = turned(mesh_of(person) * 1.3, step)
    pixels = looking_like(person.square, mesh_of(person), wanted)
    moved = sideways(measured(person, pixels, measure)) - sideways(mesh_of(person))
    assert (np.sign(moved) == np.sign(step)).all()
    assert (np.abs(moved) > 0.35 * abs(step)).all()  # measured: 0.4 to 0.9; Face Mesh sees less of it than there is
    assert (np.abs(moved) < 1.2 * abs(step)).all()


def test_nothing_but_the_eyes_changes(people: Gallery) -> None:
    person = people.astronaut
    pixels = looking_like(person.square, mesh_of(person), turned(mesh_of(person), 0.1))
    rows, columns = np.nonzero((pixels != person.square).any(2))
    lids = np.concatenate([mesh_of(person)[list(eye.lids), :2] for eye in EYES])
    assert (lids.min(0) - 2 <= [columns.min(), rows.min()]).all()
    assert ([columns.max(), rows.max()] <= lids.max(0) + 2).all()
    brow = person.square[: int(lids[:, 1].min()) - 2]
    np.testing.assert_array_equal(pixels[: len(brow)], brow)


def test_who_looks_alike_is_left_alone(people: Gallery) -> None:
    person = people.astronaut
    assert looking_like(person.square, mesh_of(person), mesh_of(person) * 2 + 5) is person.square


def test_shut_eyes_and_eyes_seen_from_the_side_are_left_alone(people: Gallery) -> None:
    """The sixth person's are shut; the fifth's far one lies behind the nose, and a head turned by 50 degrees more tells too little."""
    for one, other in ((people.six[5], people.astronaut), (people.astronaut, people.six[5])):
        assert looking_like(one.square, mesh_of(one), mesh_of(other)) is one.square
    away = people.six[4]
    changed = (looking_like(away.square, mesh_of(away), turned(mesh_of(away), 0.15)) != away.square).any(2)
    far = mesh_of(away)[list(EYES[0].lids), :2]
    x0, y0, x1, y1 = (int(value) for value in (*far.min(0), *far.max(0)))
    assert changed.any()
    assert not changed[y0:y1, x0:x1].any()
    assert looking_like(people.hanks.square, mesh_of(people.hanks), mesh_of(away)) is people.hanks.square
