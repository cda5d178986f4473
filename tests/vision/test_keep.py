"""What stays the target's: eyes and mouths that the source cannot supply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serve_app.vision.keep import kept
from serve_app.vision.mesh import LEFT_EYE, RIGHT_EYE, Mesh
from tests.gallery import gallery

SHAPE = (240, 240)


@pytest.fixture
def mesh(builtin_weights: Path) -> Mesh:
    """The astronaut's: open eyes, and teeth to be seen."""
    return gallery(builtin_weights).astronaut.mesh[:468].astype(np.float64)


def with_eyes(mesh: Mesh, openness: float) -> Mesh:
    changed = mesh.copy()
    for eye, corners in ((LEFT_EYE, (33, 133)), (RIGHT_EYE, (263, 362))):
        line = changed[list(corners), 1].mean()
        changed[list(eye), 1] = line + openness * (changed[list(eye), 1] - line)
    return changed


def with_mouth(mesh: Mesh, gap: float) -> Mesh:
    """gap: between the lips, as a share of the mouth's width."""
    changed = mesh.copy()
    width = np.linalg.norm(mesh[78, :2] - mesh[308, :2])
    changed[14, :2] = changed[13, :2] + [0, gap * width]
    return changed


def keep(source: Mesh, target: Mesh) -> np.ndarray:
    return kept(SHAPE, source, target, target[:, :2], 108.0)


def at(field: np.ndarray, point: np.ndarray) -> float:
    return float(field[round(float(point[1])), round(float(point[0]))])


def test_alike_faces_keep_nothing(mesh: Mesh) -> None:
    assert not keep(mesh, mesh).any()
    assert not keep(mesh * 2.5 + 7, mesh).any()


@pytest.mark.parametrize("shut_in_source", [True, False])
def test_shut_eyes_stay_the_targets_when_the_source_looks(mesh: Mesh, shut_in_source: bool) -> None:
    shut = with_eyes(mesh, 0.2)
    source, target = (shut, mesh) if shut_in_source else (mesh, shut)
    field = keep(source, target)
    for eye in (LEFT_EYE, RIGHT_EYE):
        assert at(field, target[list(eye), :2].mean(0)) > 0.6
    assert at(field, target[4]) == 0  # the nose is the source's
    assert at(field, target[13]) == 0


def test_an_open_mouth_stays_the_targets_when_the_sources_is_shut(mesh: Mesh) -> None:
    shut, wide = with_mouth(mesh, 0.0), mesh
    field = keep(shut, wide)
    assert at(field, (wide[13, :2] + wide[14, :2]) / 2) > 0.4
    assert at(field, wide[4]) == 0


def test_teeth_are_not_squeezed_between_closed_lips(mesh: Mesh, builtin_weights: Path) -> None:
    target = gallery(builtin_weights).hanks.mesh[:468].astype(np.float64)
    field = kept(SHAPE, mesh, with_mouth(target, 0.01), target[:, :2], 97.0)
    assert at(field, (target[13, :2] + target[14, :2]) / 2) > 0.5
    assert at(field, target[4]) == 0
