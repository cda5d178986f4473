"""Things painted before real faces: what an installed package has no photograph of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from serve_app.vision.face import Floats, Pixels
from serve_app.vision.mesh import EYES, face_size
from tests.gallery import Person

Colour: TypeAlias = tuple[int, int, int]
Points: TypeAlias = NDArray[np.float64]
# Draws on a canvas that is as many times as large as the picture.
Draw: TypeAlias = Callable[[Pixels, int], None]
Paint: TypeAlias = Callable[[Person], tuple[Pixels, Floats]]

BLACK, BROWN, SILVER, RED, BLUE, WHITE, YELLOW = (
    (22, 22, 24), (30, 50, 85), (205, 205, 205), (40, 30, 190), (190, 110, 40), (235, 235, 235), (50, 200, 235),
)  # fmt: skip
_FINER = 4


def glasses(person: Person, colour: Colour, thick: float = 0.022, lenses: float = 0.0) -> tuple[Pixels, Floats]:
    """thick: of the rims, in faces. lenses: 0 to 1, how dark they are."""
    points, size = _face(person)
    eyes = [points[list(eye.gap)].mean(0) for eye in EYES]
    reach = [0.78 * float(np.linalg.norm(points[eye.gap[2]] - points[eye.gap[3]])) for eye in EYES]
    along = (eyes[1] - eyes[0]) / np.linalg.norm(eyes[1] - eyes[0])
    eyes = [eye + 0.015 * size * np.array([-along[1], along[0]]) for eye in eyes]
    angle = float(np.degrees(np.arctan2(along[1], along[0])))

    def ovals(canvas: Pixels, finer: int, line: int) -> None:
        for eye, half in zip(eyes, reach, strict=True):
            axes = int(half * finer), int(0.105 * size * finer)
            cv2.ellipse(canvas, _at(eye, finer), axes, angle, 0, 360, 255, line, cv2.LINE_AA)

    def rims(canvas: Pixels, finer: int) -> None:
        line = max(1, round(thick * size * finer))
        ovals(canvas, finer, line)
        ends = [(eyes[0] + along * reach[0], eyes[1] - along * reach[1])]
        ends += [(eyes[0] - along * reach[0], points[127]), (eyes[1] + along * reach[1], points[356])]
        for one, other in ends:
            cv2.line(canvas, _at(one, finer), _at(other, finer), 255, line, cv2.LINE_AA)

    pixels, shown = person.square, np.zeros(person.square.shape[:2], np.float32)
    if lenses:
        pixels, shown = _painted(pixels, colour, lambda canvas, finer: ovals(canvas, finer, -1), lenses)
    pixels, rim = _painted(pixels, colour, rims)
    return pixels, np.maximum(shown, rim)


def stick(person: Person, colour: Colour) -> tuple[Pixels, Floats]:
    """A pencil or the like from the jaw over the mouth."""
    points, size = _face(person)
    jaw, cheek = points[172], points[425]
    ends = jaw + 0.3 * (jaw - cheek), cheek + 0.1 * (cheek - jaw)
    return _painted(person.square, colour, _line(ends, 0.06 * size))


def glove(person: Person, colour: Colour) -> tuple[Pixels, Floats]:
    """Four fingers over a cheek and a corner of the mouth."""
    points, size = _face(person)
    jaw = points[172]
    fingers = [_line((1.6 * jaw - 0.6 * points[tip], points[tip]), 0.11 * size) for tip in (50, 205, 61, 91)]

    def draw(canvas: Pixels, finer: int) -> None:
        for finger in fingers:
            finger(canvas, finer)

    return _painted(person.square, colour, draw)


def face_mask(person: Person, colour: Colour) -> tuple[Pixels, Floats]:
    points, _ = _face(person)
    outline = points[[234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 347, 195, 118]]
    return _painted(person.square, colour, _filled(outline))


def microphone(person: Person, colour: Colour) -> tuple[Pixels, Floats]:
    points, size = _face(person)
    middle = points[17] + 0.35 * (points[152] - points[17])
    handle = _line((middle, middle + 0.5 * (points[152] - points[10]) + [0.2 * size, 0]), 0.1 * size)

    def draw(canvas: Pixels, finer: int) -> None:
        cv2.circle(canvas, _at(middle, finer), int(0.13 * size * finer), 255, -1, cv2.LINE_AA)
        handle(canvas, finer)

    return _painted(person.square, colour, draw)


def strands(person: Person, colour: Colour, thick: float = 0.014) -> tuple[Pixels, Floats]:
    """Four strands of hair, from the forehead past an eye to the jaw."""
    points, size = _face(person)

    def draw(canvas: Pixels, finer: int) -> None:
        share = np.linspace(0, 1, 30)[:, None]
        for number in range(4):
            top, bottom = (points[a] + (points[b] - points[a]) * number / 4 for a, b in ((103, 67), (136, 150)))
            bend = 1.6 * (points[205] * (1 - 0.1 * number) + points[117] * 0.1 * number) - 0.3 * (top + bottom)
            curve = (1 - share) ** 2 * top + 2 * share * (1 - share) * bend + share**2 * bottom
            cv2.polylines(canvas, [_fine(curve, finer)], False, 255, max(1, round(thick * size * finer)), cv2.LINE_AA)

    return _painted(person.square, colour, draw)


def fringe(person: Person, colour: Colour) -> tuple[Pixels, Floats]:
    points, _ = _face(person)
    return _painted(person.square, colour, _filled(points[[21, 54, 103, 67, 109, 10, 9, 70]]))


THINGS: Mapping[str, Paint] = {
    "thin black glasses": lambda person: glasses(person, BLACK, 0.014),
    "black glasses": lambda person: glasses(person, BLACK),
    "thick black glasses": lambda person: glasses(person, BLACK, 0.038),
    "brown glasses": lambda person: glasses(person, BROWN, 0.025),
    "silver glasses": lambda person: glasses(person, SILVER, 0.016),
    "red glasses": lambda person: glasses(person, RED, 0.025),
    "sunglasses": lambda person: glasses(person, BLACK, lenses=0.92),
    "yellow stick": lambda person: stick(person, YELLOW),
    "black stick": lambda person: stick(person, BLACK),
    "white stick": lambda person: stick(person, WHITE),
    "blue glove": lambda person: glove(person, BLUE),
    "black glove": lambda person: glove(person, BLACK),
    "white glove": lambda person: glove(person, WHITE),
    "blue mask": lambda person: face_mask(person, (200, 160, 110)),
    "white mask": lambda person: face_mask(person, WHITE),
    "black mask": lambda person: face_mask(person, BLACK),
    "microphone": lambda person: microphone(person, BLACK),
    "black strands": lambda person: strands(person, BLACK, 0.012),
    "brown strands": lambda person: strands(person, BROWN, 0.016),
    "brown fringe": lambda person: fringe(person, BROWN),
}


def _face(person: Person) -> tuple[Points, float]:
    points = person.mesh[:468, :2].astype(np.float64)
    return points, face_size(points)


def _painted(pixels: Pixels, colour: Colour, draw: Draw, strength: float = 1.0) -> tuple[Pixels, Floats]:
    """The picture with the thing in it, lit as the picture is and a little rough; and how much of each pixel is the thing."""
    height, width = pixels.shape[:2]
    canvas = np.zeros((height * _FINER, width * _FINER), np.uint8)
    draw(canvas, _FINER)
    shown = np.asarray(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA), np.float32) / 255
    shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), 0.5), np.float32)
    grey = np.asarray(cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), (0, 0), 12), np.float32)
    light = np.clip(grey / np.median(grey), 0.4, 1.4)[..., None]
    rough = np.random.default_rng(1).normal(0, 2, (height, width, 1))
    thing = np.clip(np.array(colour) * light + rough, 0, 255)
    share = strength * shown[..., None]
    return np.asarray(np.round(pixels + share * (thing - pixels)), np.uint8), np.asarray(shown, np.float32)


def _line(ends: tuple[Points, Points], thick: float) -> Draw:
    def draw(canvas: Pixels, finer: int) -> None:
        cv2.line(canvas, _at(ends[0], finer), _at(ends[1], finer), 255, max(1, round(thick * finer)), cv2.LINE_AA)

    return draw


def _filled(outline: Points) -> Draw:
    def draw(canvas: Pixels, finer: int) -> None:
        cv2.fillPoly(canvas, [cv2.convexHull(_fine(outline, finer))], 255, cv2.LINE_AA)

    return draw


def _fine(points: Points, finer: int) -> NDArray[np.int32]:
    return np.round((points + 0.5) * finer - 0.5).astype(np.int32)


def _at(point: Points, finer: int) -> tuple[int, int]:
    x, y = _fine(point, finer)
    return int(x), int(y)
