"""The insightface family over HTTP, on stand-ins whose answers can be worked out: a face's colour is its identity."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.service import Service
from serve_app.vision.face import Matrix, Pixels
from serve_app.vision.image import decode
from tests.pictures import png
from tests.service.client import Client
from tests.standins.painting import Spot, middle, plant, reach

SHAPE = (320, 320, 3)
TASKS = 200
TOLERANCE = 10  # levels: the face keeps a share of the target's texture


def portrait(spot: Spot) -> Pixels:
    return plant(np.full(SHAPE, 128, np.uint8), [spot])


def a_face(random: np.random.Generator) -> Spot:
    """Of a colour, place and size of its own."""
    blue, green, red, column, row = (int(v) for v in random.integers((40, 40, 40, 10, 10), (215, 215, 215, 30, 30)))
    return Spot((column, row), size=float(random.uniform(3, 5)), colour=(blue, green, red))


def shown(result: Pixels, spot: Spot) -> Matrix:
    """The face's colour, BGR, between its middle, where the detector's mark is, and its rim."""
    x, y = middle(spot, SHAPE)
    away = 0.5 * reach(spot, SHAPE)
    places = [(x - away, y), (x + away, y), (x, y - away), (x, y + away)]
    return np.asarray(np.mean([result[round(row), round(column)] for column, row in places], axis=0), np.float64)


def test_auto_takes_the_files_that_are_there_and_says_so(service: Service) -> None:
    said = Client(service.base).request("GET", "/health").json()
    assert said["family"] == "insightface"
    assert {said["engines"][name]["provider"] for name in ("detect", "identify", "swap")} <= {"CPU", "CPUExecutionProvider"}
    assert "model family: insightface" in service.log.read_text()


def test_of_200_tasks_at_once_each_result_is_its_own_pair(service: Service) -> None:
    random = np.random.default_rng(0)
    pairs = [(a_face(random), a_face(random)) for _ in range(TASKS)]
    client = Client(service.base)

    def swap(pair: tuple[Spot, Spot]) -> Pixels:
        source, target = pair
        state = client.finished(client.submit_patiently(png(portrait(source)), png(portrait(target))))
        assert state["properties"]["models"]["family"] == "insightface"
        return decode(client.picture(state)).bgr

    with ThreadPoolExecutor(TASKS) as pool:
        results = list(pool.map(swap, pairs))
    for (source, target), result in zip(pairs, results, strict=True):
        np.testing.assert_allclose(shown(result, target), source.colour, atol=TOLERANCE)
        outside = result.copy()
        x, y = (round(v) for v in middle(target, SHAPE))
        room = round(2.5 * reach(target, SHAPE))
        outside[max(0, y - room) : y + room, max(0, x - room) : x + room] = 128
        assert (outside == 128).all()
