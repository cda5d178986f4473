"""How well a face lends itself to a swap, from its keypoints, and from its mesh where there is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve_app.vision.face import Floats
from serve_app.vision.mesh import EYES, openness, yaw

SMALL = 40.0  # pixels, the shorter side of the box
_FULL_SIZE = 112.0
_FRONTAL, _TURNED = 20.0, 45.0  # degrees
_APART = 25.0  # degrees between two faces from which on less and less of the source is seen in the result: docs/decisions/0030
_SHUT, _OPEN = 0.09, 0.2  # height of an eye as a share of its width
_MESH = (478, 3)


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
    return Quality(_notes(side, turned=off > 0.35))


def of_mesh(features: Floats | None, keypoints: Floats, side: float, giver: Floats | None = None) -> Quality:
    """features: (478, 3), the face's mesh in pixels of its square; anything else says nothing. giver: that of the face put onto it."""
    if features is None or not _is_mesh(features):
        return of_points(keypoints, side)
    mesh = features.astype(np.float64)
    angle = abs(yaw(mesh))
    apart = 0.0 if giver is None or not _is_mesh(giver) else abs(yaw(mesh) - yaw(giver.astype(np.float64)))
    eyes = max(openness(mesh, *eye.gap) for eye in EYES)
    size = np.clip(side / _FULL_SIZE, 0.1, 1.0)
    front = np.clip(1 - (angle - _FRONTAL) / (90 - _FRONTAL), 0.1, 1.0)
    seen = np.clip((eyes - _SHUT) / (_OPEN - _SHUT), 0.5, 1.0)
    alike = np.clip(1 - (apart - _APART) / (110 - _APART), 0.1, 1.0)
    notes = _notes(side, turned=angle > _TURNED, shut=eyes < _SHUT, apart=apart > _TURNED)
    return Quality(notes, float(size * front * seen * alike))


def _is_mesh(features: Floats) -> bool:
    return features.shape == _MESH and bool(np.isfinite(features).all())


def _notes(side: float, *, turned: bool, shut: bool = False, apart: bool = False) -> tuple[str, ...]:
    said = {"small": side < SMALL, "turned": turned, "eyes shut": shut, "turned unlike the source": apart}
    return tuple(note for note, holds in said.items() if holds)
