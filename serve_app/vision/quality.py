"""How well a face lends itself to a swap, from its keypoints, and from its mesh where there is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve_app.vision.face import Floats
from serve_app.vision.mesh import openness

SMALL = 40.0  # pixels, the shorter side of the box
_FULL_SIZE = 112.0
_FRONTAL, _TURNED = 20.0, 45.0  # degrees
_SHUT, _OPEN = 0.09, 0.2  # height of an eye as a share of its width
_MESH = (478, 3)
_LEFT_EYE, _RIGHT_EYE = (159, 145, 33, 133), (386, 374, 362, 263)


@dataclass(frozen=True, slots=True)
class Quality:
    """confidence: 0 to 1, that the swap comes out well; None where nothing but keypoints is known. notes: what speaks against it."""

    notes: tuple[str, ...]
    confidence: float | None = None

    def shown(self) -> dict[str, object]:
        found: dict[str, object] = {"notes": list(self.notes)} if self.notes else {}
        return found if self.confidence is None else {**found, "confidence": round(self.confidence, 2)}


def of_points(keypoints: Floats, side: float) -> Quality:
    """keypoints: (5, 2). side: the shorter one of the box, in pixels."""
    left, right, nose = (keypoints[number].astype(np.float64) for number in range(3))
    across = right - left
    length = float(across @ across)
    off = abs(float((nose - left) @ across) / length - 0.5) if length > 1e-6 else 1.0  # half of the eyes' distance in full profile
    return Quality(_notes(side, off > 0.35, False))


def of_mesh(features: Floats | None, keypoints: Floats, side: float) -> Quality:
    """features: (478, 3), the face's mesh in pixels of its square; anything else says nothing."""
    if features is None or features.shape != _MESH or not np.isfinite(features).all():
        return of_points(keypoints, side)
    mesh = features.astype(np.float64)
    across = mesh[263] - mesh[33]
    angle = float(np.degrees(np.arctan2(abs(across[2]), np.hypot(across[0], across[1]))))
    eyes = max(openness(mesh, *_LEFT_EYE), openness(mesh, *_RIGHT_EYE))
    size = np.clip(side / _FULL_SIZE, 0.1, 1.0)
    front = np.clip(1 - (angle - _FRONTAL) / (90 - _FRONTAL), 0.1, 1.0)
    seen = np.clip((eyes - _SHUT) / (_OPEN - _SHUT), 0.5, 1.0)
    return Quality(_notes(side, angle > _TURNED, eyes < _SHUT), float(size * front * seen))


def _notes(side: float, turned: bool, shut: bool) -> tuple[str, ...]:
    said = {"small": side < SMALL, "turned": turned, "eyes shut": shut}
    return tuple(note for note, holds in said.items() if holds)
