"""People for tests: real faces, found and measured by the built-in models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from serve_app.engines.centerface import CenterFaceEngine
from serve_app.engines.facemesh import FaceMeshEngine
from serve_app.engines.weights import CENTERFACE, FACEMESH
from serve_app.vision.face import FaceSquare, Floats, Matrix, Pixels, Portrait
from serve_app.vision.geometry import axis_square, cut
from serve_app.vision.image import letterbox
from tests.pictures import ASTRONAUT, HANKS, SIX_PEOPLE, read


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """picture: (H, W, 3) uint8 BGR. keypoints: (5, 2) in it. matrix: picture -> square. portrait: of the square."""

    picture: Pixels
    keypoints: Floats
    matrix: Matrix
    portrait: Portrait

    @property
    def mesh(self) -> Floats:
        assert self.portrait.features is not None
        return self.portrait.features

    @property
    def square(self) -> Pixels:
        assert self.portrait.pixels is not None
        return self.portrait.pixels


class Finder:
    """Finds and measures the people in a picture as the service does. folder: of the built-in model files."""

    def __init__(self, folder: Path) -> None:
        self._detect = CenterFaceEngine(folder / CENTERFACE, precision="exact")
        self._measure = FaceMeshEngine(folder / FACEMESH, precision="exact")

    def people(self, picture: Pixels) -> tuple[Person, ...]:
        """From left to right."""
        faces = sorted(self._keypoints(picture), key=lambda points: float(points[:, 0].min()))
        return tuple(person(picture, points, self._measure) for points in faces)

    def nearest(self, picture: Pixels, keypoints: Floats) -> Person:
        """The one whose (5, 2) keypoints lie nearest to these."""
        nearest = min(self._keypoints(picture), key=lambda points: float(np.abs(points - keypoints).sum()))
        return person(picture, nearest, self._measure)

    def _keypoints(self, picture: Pixels) -> Floats:
        frame = letterbox(picture, 640)
        square = frame.square()
        return self._detect.post(square, self._detect.run([square])[0]).scaled(1 / frame.scale).keypoints


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """astronaut and hanks, and the six people of t1.jpg from left to right."""

    astronaut: Person
    hanks: Person
    six: tuple[Person, ...]

    @property
    def everybody(self) -> dict[str, Person]:
        """By the names that pages call them."""
        return {"astronaut": self.astronaut, "Hanks": self.hanks, **{f"t1-{number}": one for number, one in enumerate(self.six)}}


finder = cache(Finder)


@cache
def gallery(folder: Path) -> Gallery:
    """folder: of the built-in model files."""
    (astronaut,), (hanks,), six = (finder(folder).people(read(path)) for path in (ASTRONAUT, HANKS, SIX_PEOPLE))
    assert len(six) == 6
    return Gallery(astronaut, hanks, six)


def person(picture: Pixels, keypoints: Floats, measure: FaceMeshEngine, *, max_side: int = 640) -> Person:
    matrix, side = axis_square(picture.shape[:2], keypoints, max_side=max_side)
    square = cut(picture, matrix, side, keypoints)
    face = FaceSquare(square.pixels, square.keypoints)
    mesh = measure.post(face, measure.run([measure.pre(face)])[0])
    return Person(picture, np.array(keypoints), matrix, Portrait(mesh, square.pixels))
