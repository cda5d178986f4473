"""All faces of one picture: each once, numbered in an order that people can see, and found also where the picture lies on its side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serve_app.vision.arcface import arcface_matrix
from serve_app.vision.face import FaceError, Faces, Floats, Pixels

NOBODY = Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))

_SAME_BOX = 0.7
_MEET, _SAME_EYES = 0.2, 0.3  # boxes that share so much, and eyes nearer to each other than that part of the face's size
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, slots=True)
class Crowd:
    """faces: of the picture, numbered left to right by the middle of their boxes, then top to bottom, then larger ones first.

    turned: by how many degrees the picture had to be turned clockwise until a face was found; boxes and keypoints are those of the
    picture as it is.
    """

    faces: Faces
    turned: int = 0

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def plausible(self) -> bool:
        """Whether the five points of any of them lie as in a face."""
        return any(_like_a_face(points) for points in self.faces.keypoints)

    @property
    def sides(self) -> Floats:
        """(n,): the shorter side of each box, in pixels."""
        boxes = self.faces.boxes
        return np.asarray((boxes[:, 2:] - boxes[:, :2]).min(axis=1), np.float32)

    def by_size(self) -> list[int]:
        """Largest box first; of equal ones the better score."""
        return [int(index) for index in np.lexsort((-self.faces.scores, -_areas(self.faces.boxes)))]

    def shown(self, index: int) -> dict[str, object]:
        """For people and machines: box x1 y1 x2 y2 in pixels of the upright picture."""
        return {
            "index": index,
            "box": [round(float(value), 1) for value in self.faces.boxes[index]],
            "score": round(float(self.faces.scores[index]), 4),
        }

    def listed(self, most: int = 20) -> str:
        """How many faces there are and where, for a message."""
        if not len(self):
            return "no face was found"
        places = [f"{index} at {[round(float(value)) for value in self.faces.boxes[index]]}" for index in range(min(most, len(self)))]
        more = f" and {len(self) - most} more" if len(self) > most else ""
        return f"{len(self)} found: {', '.join(places)}{more}"


def _like_a_face(keypoints: Floats) -> bool:
    try:
        arcface_matrix(keypoints, 112)
    except FaceError:
        return False
    return True


def gather(faces: Faces, turned: int = 0) -> Crowd:
    """Faces of a detector, without those that are no numbers; of several detections of one face the largest stays."""
    finite = np.isfinite(faces.boxes).all(1) & np.isfinite(faces.keypoints).all((1, 2)) & np.isfinite(faces.scores)
    kept = _distinct(_some(faces, np.flatnonzero(finite)))
    boxes = np.round(kept.boxes.astype(np.float64), 1)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    order = np.lexsort((-kept.scores, -_areas(kept.boxes), middles[:, 1], middles[:, 0]))
    return Crowd(_some(kept, order), turned)


def turned(bgr: Pixels) -> Iterator[tuple[int, Pixels]]:
    """The picture turned clockwise by 90, 180 and 270 degrees, one after the other: each may be large."""
    return ((degrees, np.asarray(cv2.rotate(bgr, how), np.uint8)) for degrees, how in _TURNS.items())


def turned_back(faces: Faces, degrees: int, shape: Sequence[int]) -> Faces:
    """Faces of a picture turned clockwise, in pixels of the picture as it was; shape: its height and width."""
    height, width = shape[:2]
    corners = _back(faces.boxes.reshape(-1, 2, 2), degrees, width, height)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return Faces(boxes, faces.scores, _back(faces.keypoints, degrees, width, height))


def _back(points: Floats, degrees: int, width: int, height: int) -> Floats:
    x, y = points[..., 0], points[..., 1]
    right, bottom = np.float32(width - 1), np.float32(height - 1)
    moved = {90: (y, bottom - x), 180: (right - x, bottom - y), 270: (right - y, x)}[degrees]
    return np.stack(moved, axis=-1).astype(np.float32)


def _some(faces: Faces, indices: NDArray[np.intp]) -> Faces:
    return Faces(faces.boxes[indices], faces.scores[indices], faces.keypoints[indices])


def _areas(boxes: Floats) -> Floats:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def _distinct(faces: Faces) -> Faces:
    kept: list[int] = []
    for index in np.lexsort((-faces.scores, -_areas(faces.boxes))):
        if not kept or not _same(faces, int(index), np.array(kept)).any():
            kept.append(int(index))
    return _some(faces, np.array(kept, np.intp))


def _same(faces: Faces, index: int, others: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which of the others are the same face: the same box, or boxes that meet and the same eyes."""
    box, boxes = faces.boxes[index], faces.boxes[others]
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    union = _areas(box[None]) + _areas(boxes) - shared
    overlap = shared / np.maximum(union, 1e-6)
    points = faces.keypoints[others]
    size = np.maximum(_length(points[:, 1] - points[:, 0]), _length(points[:, 3:].mean(1) - points[:, :2].mean(1)))
    apart = _length(points[:, :2] - faces.keypoints[index, :2]).max(axis=1)
    return np.asarray((overlap > _SAME_BOX) | ((overlap > _MEET) & (apart < _SAME_EYES * size)))


def _length(vectors: Floats) -> Floats:
    return np.asarray(np.hypot(vectors[..., 0], vectors[..., 1]), np.float32)
