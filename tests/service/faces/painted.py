"""Pictures with planted faces for the rows, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from serve_app.vision.face import Matrix, Pixels
from serve_app.vision.image import decode
from tests.pictures import data_url, png
from tests.service.client import Client
from tests.standins.painting import Spot, middle, plant, reach

SHAPE = (640, 640, 3)
TOLERANCE = 10  # levels: a face keeps a share of the target's texture
GREY = 128
RED, GREEN, BLUE = (50, 60, 200), (60, 190, 70), (210, 80, 60)
PALE = (170, 170, 180)


def row(number: int, colour: tuple[int, int, int] = PALE, size: float = 1.6) -> list[Spot]:
    """So many faces, from left to right."""
    return [Spot((4 + 6 * at, 10 if at % 2 else 26), size=size, colour=colour) for at in range(number)]


def one(colour: tuple[int, int, int], size: float = 3.0) -> bytes:
    return painted([Spot((19, 19), size=size, colour=colour)])


def painted(spots: Sequence[Spot], shape: tuple[int, int, int] = SHAPE) -> bytes:
    return png(plant(np.full(shape, GREY, np.uint8), spots))


def colour_of(result: Pixels, spot: Spot) -> Matrix:
    """Between the face's middle, where the detector's mark is, and its rim; BGR."""
    x, y = middle(spot, result.shape)
    away = 0.55 * reach(spot, result.shape)
    places = [(x - away, y), (x + away, y), (x, y - away), (x, y + away)]
    return np.asarray(np.mean([result[round(row), round(column)] for column, row in places], axis=0), np.float64)


def is_colour(result: Pixels, spot: Spot, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(colour_of(result, spot) - colour).max() <= TOLERANCE)


def untouched(result: Pixels, target: bytes, spots: Sequence[Spot]) -> bool:
    """Whether everything but these faces is the target's own."""
    same = (result == decode(target).bgr).all(axis=2)
    for spot in spots:
        x, y = (round(value) for value in middle(spot, result.shape))
        room = round(1.6 * reach(spot, result.shape))
        same[max(0, y - room) : y + room, max(0, x - room) : x + room] = True
    return bool(same.all())


def swapped(client: Client, source: bytes, target: bytes, **options: Any) -> tuple[Pixels, dict[str, Any]]:
    """The result and the faces of its task's properties."""
    state = client.finished(client.submit(source, target, options=options))
    return decode(client.picture(state)).bgr, dict(state["properties"]["faces"])


def failed(client: Client, source: bytes, target: bytes, **options: Any) -> str:
    """Why."""
    state = client.finished(client.submit(source, target, options=options))
    assert state["status"] == "FAILURE", state
    return str(state["failReason"])


def refused(client: Client, **members: Any) -> tuple[str, str]:
    """The member at fault, and why, of a submit that is refused with code 4."""
    body = {"sourceBase64": data_url(one(RED)), "targetBase64": data_url(painted(row(2))), **members}
    answer = client.request("POST", "/mj/insight-face/swap", json={name: value for name, value in body.items() if value is not None})
    assert (answer.status_code, answer.json()["code"], answer.json()["result"]) == (200, 4, None), answer.text
    return answer.json()["properties"]["field"], answer.json()["properties"]["reason"]
