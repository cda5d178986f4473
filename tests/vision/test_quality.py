"""How well a face lends itself to a swap."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.vision.face import Floats
from serve_app.vision.quality import of_mesh, of_points

FIVE = np.array([[40, 50], [80, 50], [60, 70], [45, 90], [75, 90]], np.float32)


def head(degrees: float) -> Floats:
    """(478, 3): what is looked at of a mesh, the eyes, 40 pixels apart and open; turned to the image's right."""
    mesh = np.zeros((478, 3), np.float64)
    for outer, inner, top, bottom, x in ((33, 133, 159, 145, -20), (263, 362, 386, 374, 20)):
        side = np.sign(x)
        for vertex, at in ((outer, (x + 8 * side, 0)), (inner, (x - 8 * side, 0)), (top, (x, -3)), (bottom, (x, 3))):
            mesh[vertex, :2] = at
    turn = np.radians(degrees)
    turned = np.stack([mesh[:, 0] * np.cos(turn), mesh[:, 1], mesh[:, 0] * np.sin(turn)], 1)
    return turned.astype(np.float32)


def test_heads_turned_alike_lose_nothing_by_it() -> None:
    for degrees in (0, 30):
        alone = of_mesh(head(degrees), FIVE, 200)
        assert of_mesh(head(degrees), FIVE, 200, head(degrees)) == alone
        assert of_mesh(head(degrees), FIVE, 200, head(degrees + 20)) == alone


def test_the_further_two_heads_are_turned_apart_the_less_is_expected() -> None:
    confidences = []
    for degrees in (0, 40, 60, 90):
        quality = of_mesh(head(0), FIVE, 200, head(-degrees))
        assert ("turned unlike the source" in quality.notes) == (degrees > 45)
        assert "turned" not in quality.notes  # it is not this face that is
        assert quality.confidence is not None
        confidences.append(quality.confidence)
    assert confidences[0] == 1
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[-1] < 0.3


@pytest.mark.parametrize("giver", [np.ones(512, np.float32), np.full((478, 3), np.nan, np.float32)])
def test_what_is_no_mesh_says_nothing(giver: Floats) -> None:
    assert of_mesh(head(0), FIVE, 200, giver) == of_mesh(head(0), FIVE, 200)
    assert of_mesh(giver, FIVE, 200) == of_points(FIVE, 200)
