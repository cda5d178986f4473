"""The records that travel between the stages of a swap: faces found, squares cut, patches made.

All pixels are BGR uint8; all points are (x, y) in pixels of the picture or square they belong to.
A record that has crossed a deployment may hold read-only arrays: nothing here is ever mutated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Matrix: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]


class FaceError(Exception):
    """A picture or face that a model cannot use; the message tells the user why and what to do."""


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one picture, best score first.

    boxes: (n, 4) float32, x1 y1 x2 y2. scores: (n,) float32 in 0..1.
    keypoints: (n, 5, 2) float32: left eye, right eye, nose, left and right mouth corner, as seen in the image.
    """

    boxes: Floats
    scores: Floats
    keypoints: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def scaled(self, factor: float) -> Faces:
        """The same faces in a picture `factor` times as large."""
        f = np.float32(factor)
        return Faces(self.boxes * f, self.scores, self.keypoints * f)

    def largest(self) -> int:
        """Index of the face with the largest box; of equal ones the better score. Raises ValueError without faces."""
        if not len(self):
            raise ValueError("no faces")
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return int(np.argmax(sides[:, 0] * sides[:, 1]))


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture made to fit what a detector looks at: letterboxed into the top left of a black square, whose black does not travel.

    inside: the picture, (h, w, 3) uint8 BGR, neither side longer than `side`, the square's. scale: frame pixels per picture pixel.
    """

    inside: Pixels
    side: int
    scale: float

    def square(self) -> Pixels:
        """(side, side, 3) uint8 BGR."""
        square = np.zeros((self.side, self.side, 3), np.uint8)
        square[: self.inside.shape[0], : self.inside.shape[1]] = self.inside
        return square


@dataclass(frozen=True, slots=True)
class Square:
    """One face cut out of a picture.

    pixels: (S, S, 3) uint8 BGR. keypoints: (5, 2) float32 in the square.
    matrix: (2, 3) float64, picture -> square, for paste-back.
    """

    pixels: Pixels
    keypoints: Floats
    matrix: Matrix


@dataclass(frozen=True, slots=True)
class FaceSquare:
    """One face to be described: pixels (S, S, 3) uint8 BGR, keypoints (5, 2) float32 in them, in the order of `Faces`."""

    pixels: Pixels
    keypoints: Floats


@dataclass(frozen=True, slots=True)
class Portrait:
    """What a swap engine needs of one face.

    features: float32, the family's description of the face: mesh (478, 3) in pixels of the square for `builtin`,
    embedding (512,) for `insightface`. pixels: the square (S, S, 3) uint8 BGR, or None where the features are enough.
    """

    features: Floats | None
    pixels: Pixels | None


@dataclass(frozen=True, slots=True)
class SwapItem:
    """One face to make: the identity of `source` in the square of `target`."""

    source: Portrait
    target: Portrait


@dataclass(frozen=True, slots=True)
class Patch:
    """A swapped square and where it counts: pixels (S, S, 3) uint8 BGR, mask (S, S) uint8, 255 = all patch."""

    pixels: Pixels
    mask: Pixels
