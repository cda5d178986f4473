"""How a model family wants to see pictures, and how its patches go back into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from serve_app.vision.arcface import arcface_square
from serve_app.vision.face import FaceError, Floats, Frame, Matrix, Patch, Pixels, Square
from serve_app.vision.geometry import axis_square, cut
from serve_app.vision.image import letterbox
from serve_app.vision.paste import paste
from serve_app.vision.paste_square import paste_squares
from serve_app.vision.scrfd import library_letterbox


@dataclass(frozen=True, slots=True)
class Framing:
    """frames: a picture for the detector, at one or more sizes. source, target: the square of one face, by its keypoints (5, 2);
    FaceError for keypoints that cannot be a face's. target_features: whether the swapper needs the target's features too.
    paste: patches laid into a picture, each with the matrix of its square.
    """

    frames: Callable[[Pixels], tuple[Frame, ...]]
    source: Callable[[Pixels, Floats], Square]
    target: Callable[[Pixels, Floats], Square]
    target_features: bool
    paste: Callable[[Pixels, Sequence[tuple[Patch, Matrix]]], Pixels]


def mesh_framing(frame_side: int, max_side: int) -> Framing:
    """For meshes: upright squares of the picture's own pixels, with room around the face."""
    square = partial(_upright_square, max_side=max_side)
    return Framing(lambda bgr: (Frame(*letterbox(bgr, frame_side)),), square, square, True, paste)


def arcface_framing(sides: Sequence[int]) -> Framing:
    """For embeddings, as the insightface library does it: crops turned onto ArcFace's template, 112 pixels to describe, 128 to swap."""

    def frames(bgr: Pixels) -> tuple[Frame, ...]:
        return tuple(library_letterbox(bgr, side) for side in sides)

    return Framing(frames, partial(arcface_square, size=112), partial(arcface_square, size=128), False, paste_squares)


def _upright_square(bgr: Pixels, keypoints: Floats, *, max_side: int) -> Square:
    try:
        matrix, side = axis_square(bgr.shape[:2], keypoints, max_side=max_side)
    except ValueError as error:
        raise FaceError(f"The face that was found cannot be used: {error}.") from error
    return cut(bgr, matrix, side, keypoints)
