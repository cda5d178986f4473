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


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """astronaut and hanks, and the six people of t1.jpg from left to right."""

    astronaut: Person
    hanks: Person
    six: tuple[Person, ...]


@cache
def gallery(folder: Path) -> Gallery:
    """folder: of the built-in model files."""
    detect, measure = CenterFaceEngine(folder / CENTERFACE, precision="exact"), FaceMeshEngine(folder / FACEMESH, precision="exact")

    def people(path: Path) -> tuple[Person, ...]:
        picture = read(path)
        frame, scale = letterbox(picture, 640)
        faces = detect.post(frame, detect.run([frame])[0]).scaled(1 / scale)
        return tuple(person(picture, points, measure) for points in sorted(faces.keypoints, key=lambda points: float(points[:, 0].min())))

    (astronaut,), (hanks,), six = people(ASTRONAUT), people(HANKS), people(SIX_PEOPLE)
    assert len(six) == 6
    return Gallery(astronaut, hanks, six)


def person(picture: Pixels, keypoints: Floats, measure: FaceMeshEngine, *, max_side: int = 640) -> Person:
    matrix, side = axis_square(picture.shape[:2], keypoints, max_side=max_side)
    square = cut(picture, matrix, side, keypoints)
    face = FaceSquare(square.pixels, square.keypoints)
    mesh = measure.post(face, measure.run([measure.pre(face)])[0])
    return Person(picture, np.array(keypoints), matrix, Portrait(mesh, square.pixels))
