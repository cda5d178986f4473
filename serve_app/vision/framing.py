"""How a model family wants to see pictures, and how its patches go back into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from serve_app.vision.arcface import arcface_matrix, arcface_square
from serve_app.vision.face import FaceError, Floats, Frame, Matrix, Patch, Pixels, Square
from serve_app.vision.geometry import axis_square, cut
from serve_app.vision.image import letterbox
from serve_app.vision.paste import paste
from serve_app.vision.paste_square import overlapping, paste_squares
from serve_app.vision.quality import Quality, of_mesh, of_points
from serve_app.vision.scrfd import library_letterbox

_SWAPPED = 128  # pixels, the side of what is swapped


@dataclass(frozen=True, slots=True)
class Framing:
    """frames: a picture for the detector, at one or more sizes. source, target: the square of one face, by its keypoints (5, 2);
    FaceError for keypoints that cannot be a face's. target_features: whether the swapper needs the target's features too.
    paste: patches laid into a picture, each with the matrix of its square. turns: of faces in the order in which they are swapped, by
    their keypoints, which can be cut together: lists of indices, to be worked off one after the other, each cut out of what the lists
    before it have left; the second argument is the picture's shape. quality: of a face, by its features, keypoints and size, and by the
    features of the face that is put onto it, where there is one.
    """

    frames: Callable[[Pixels], tuple[Frame, ...]]
    source: Callable[[Pixels, Floats], Square]
    target: Callable[[Pixels, Floats], Square]
    target_features: bool
    paste: Callable[[Pixels, Sequence[tuple[Patch, Matrix]]], Pixels]
    turns: Callable[[Sequence[Floats], tuple[int, ...]], list[list[int]]]
    quality: Callable[[Floats | None, Floats, float, Floats | None], Quality]


def framing(family: str, frame_sides: Sequence[int], max_side: int) -> Framing:
    """Of a model family, with the detector's sizes and the longest side of a face's square, pixels.

    Not beside the family's engines: whoever lays pictures needs no runtime for models in its process.
    """
    return arcface_framing(frame_sides) if family == "insightface" else mesh_framing(max(frame_sides), max_side)


def mesh_framing(frame_side: int, max_side: int) -> Framing:
    """For meshes: upright squares of the picture's own pixels, with room around the face."""
    square = partial(_upright_square, max_side=max_side)
    return Framing(lambda bgr: (letterbox(bgr, frame_side),), square, square, True, paste, _together, of_mesh)


def arcface_framing(sides: Sequence[int]) -> Framing:
    """For embeddings, as the insightface library does it: crops turned onto ArcFace's template, 112 pixels to describe, 128 to swap."""

    def frames(bgr: Pixels) -> tuple[Frame, ...]:
        return tuple(library_letterbox(bgr, side) for side in sides)

    def quality(features: Floats | None, keypoints: Floats, side: float, giver: Floats | None) -> Quality:
        return of_points(keypoints, side)

    source, target = partial(arcface_square, size=112), partial(arcface_square, size=_SWAPPED)
    return Framing(frames, source, target, False, paste_squares, _by_overlap, quality)


def _together(keypoints: Sequence[Floats], shape: tuple[int, ...]) -> list[list[int]]:
    return [list(range(len(keypoints)))]


def _by_overlap(keypoints: Sequence[Floats], shape: tuple[int, ...]) -> list[list[int]]:
    """As the library has it, where a face is cut out of what the faces before it have left."""
    if len(keypoints) < 2:
        return _together(keypoints, shape)
    matrices: dict[int, Matrix] = {}
    for index, points in enumerate(keypoints):
        with suppress(FaceError):  # which it will meet again when it is cut
            matrices[index] = arcface_matrix(points, _SWAPPED)
    usable = list(matrices)
    lists = [[usable[number] for number in some] for some in overlapping(list(matrices.values()), _SWAPPED, shape)] or [[]]
    lists[0] += [index for index in range(len(keypoints)) if index not in matrices]
    return lists


def _upright_square(bgr: Pixels, keypoints: Floats, *, max_side: int) -> Square:
    arcface_matrix(keypoints, 112)  # which refuses what is no face's
    try:
        matrix, side = axis_square(bgr.shape[:2], keypoints, max_side=max_side)
    except ValueError as error:
        raise FaceError(f"The face that was found cannot be used: {error}.") from error
    return cut(bgr, matrix, side, keypoints)
