"""Pictures with planted faces, which every stand-in detector finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from serve_app.vision.face import Floats, Matrix, Pixels
from tests.standins.planting import POINTS, REACH, STRIDES

MARK = 0.75  # half the side of a mark, in strides
PATCH = 1.25  # half the side of the coloured square; 1 is the border of the aligned 112 px crop, 8/7 that of the 128 px crop
HOLE = 0.15  # half the side of what keeps a mark made for one side from being read at a larger one


@dataclass(frozen=True, slots=True)
class Spot:
    """A face to plant: the detector's cell (column, row) of a stride, size in strides (half of its box), angle in radians.

    colour: BGR, its identity for the functional stand-ins. side: the detector's frame in which it is to be found.
    """

    cell: tuple[int, int]
    stride: int = 16
    size: float = 2.5
    angle: float = 0.0
    colour: tuple[int, int, int] = (60, 140, 120)
    side: int = 640


def frame_size(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Width and height that a picture of this shape takes in a square frame, as the library rounds them."""
    height, width = shape[:2]
    ratio = height / width
    return (int(side / ratio), side) if ratio > 1 else (side, int(side * ratio))


def middle(spot: Spot, shape: Sequence[int]) -> Matrix:
    """Where the face is in the picture, x and y."""
    width, height = frame_size(shape, spot.side)
    cell = (np.array(spot.cell) + 0.5) * spot.stride
    return np.asarray(cell * [shape[1] / width, shape[0] / height])


def points(spot: Spot, shape: Sequence[int]) -> Matrix:
    """The five keypoints (5, 2) in the picture that a detector without an opinion of its own finds."""
    return POINTS @ _turn(spot).T * reach(spot, shape) + middle(spot, shape)


def reach(spot: Spot, shape: Sequence[int]) -> float:
    """Half the side of the face's box in the picture."""
    width, height = frame_size(shape, spot.side)
    return spot.size * spot.stride * (shape[1] / width if width >= height else shape[0] / height)


def plant(picture: Pixels, spots: Sequence[Spot]) -> Pixels:
    """A copy of the picture with the faces in it, squares first and marks above all of them."""
    canvas = np.array(picture)
    for spot in spots:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ _turn(spot).T * PATCH * reach(spot, picture.shape)
        corners += middle(spot, picture.shape)
        cv2.fillConvexPoly(canvas, np.round(corners * 16).astype(np.int32), spot.colour, shift=4)
    for spot in spots:
        _mark(canvas, spot)
    return canvas


def _turn(spot: Spot) -> Matrix:
    cos, sin = np.cos(spot.angle), np.sin(spot.angle)
    return np.array([[cos, -sin], [sin, cos]])


def _mark(canvas: Pixels, spot: Spot) -> None:
    width, height = frame_size(canvas.shape, spot.side)
    unit = np.array([spot.stride * canvas.shape[1] / width, spot.stride * canvas.shape[0] / height])
    spots = middle(spot, canvas.shape)
    corner = np.maximum(np.floor(spots - MARK * unit).astype(int), 0)
    end = np.minimum(np.ceil(spots + MARK * unit).astype(int), canvas.shape[1::-1])
    part = canvas[corner[1] : end[1], corner[0] : end[0]]
    (left, right, across), (upper, lower, down) = (
        (_covered(at - MARK * step, at, low, high), _covered(at, at + MARK * step, low, high), _covered(at - hole, at + hole, low, high))
        for at, step, hole, low, high in zip(spots, unit, HOLE * unit, corner, end, strict=True)
    )
    red = 255 * (np.outer(upper, left) + np.outer(lower, right))
    if spot.side < 640:
        hole = np.outer(down, across)
        red = red * (1 - hole) + 127 * hole
    share = np.outer(upper + lower, left + right)
    green, blue = (spot.size / REACH * np.array([np.cos(spot.angle), np.sin(spot.angle)]) + 0.5) * 255
    mark = np.stack([blue * share, green * share, red], axis=2)
    part[:] = np.clip(np.round(part * (1 - share[..., None]) + mark), 0, 255)


def _covered(start: float, stop: float, low: int, high: int) -> Floats:
    """How much of each of the pixels low..high of a line lies between start and stop."""
    edge = np.arange(low, high)
    return np.asarray(np.clip(np.minimum(edge + 1, stop) - np.maximum(edge, start), 0, 1), np.float32)


def scatter(random: np.random.Generator, shape: Sequence[int], count: int, *, side: int = 640, apart: bool = True) -> list[Spot]:
    """Up to `count` spots whose marks lie in the picture, fewer where there is no more room.

    apart: their squares do not touch; otherwise only their marks do not, and the detector may drop boxes of some.
    """
    width, height = frame_size(shape, side)
    taken: list[tuple[float, float, float]] = []
    spots: list[Spot] = []
    for _ in range(count * 30):
        if len(spots) == count:
            break
        stride = int(random.choice(STRIDES, p=(0.6, 0.3, 0.1)))
        if width < 2 * stride or height < 2 * stride:
            continue
        cell = int(random.integers(0, width // stride)), int(random.integers(0, height // stride))
        x, y = ((value + 0.5) * stride for value in cell)
        size = float(random.uniform(1.6, 4.0))
        room = size * stride * PATCH * 1.42 if apart else stride * 1.5
        outside = x + MARK * stride > width or y + MARK * stride > height
        if outside or any(max(abs(x - a), abs(y - b)) < room + other for a, b, other in taken):
            continue
        taken.append((x, y, room))
        colour = tuple(int(value) for value in random.integers(20, 200, 3))
        spots.append(Spot(cell, stride, size, float(random.uniform(-np.pi, np.pi)), (colour[0], colour[1], colour[2]), side))
    return spots
