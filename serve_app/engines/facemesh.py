"""MediaPipe's Face Mesh V2: 478 points of a face (Kartynnik et al., "Real-time Facial Surface Geometry from Monocular
Video on Mobile GPUs", 2019; weights by Google, Apache-2.0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from serve_app.engines.choice import Precision, open_session, probe_picture
from serve_app.engines.pictures import IMAGE, check_outputs, check_picture, run_pictures
from serve_app.engines.session import CPU
from serve_app.vision.face import FaceError, FaceSquare, Floats, Matrix, Pixels

OUTPUTS = ("points", "presence")
SIDE = 256
POINTS = 478
LEFT_EYE, RIGHT_EYE = 33, 263  # outer corners, as seen in the picture


@dataclass(frozen=True, slots=True)
class Crop:
    """Where to look for a face: a turned square.

    centre (2,) in pixels of the picture, whole numbers at their centres; side in pixels; angle in radians, clockwise as seen.
    """

    centre: Matrix
    side: float
    angle: float

    def matrix(self) -> Matrix:
        """(2, 3) float64, crop (0 to SIDE, from edge to edge, as the net counts) -> picture."""
        scale = self.side / SIDE
        cos, sin = np.cos(self.angle) * scale, np.sin(self.angle) * scale
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([turn, self.centre - turn @ (SIDE / 2, SIDE / 2)])


# 478 points (x, y, z), and the logit of a face being there.
Sighting: TypeAlias = tuple[Floats, float]


class FaceMeshEngine:
    """Engine[FaceSquare, FaceSquare, Sighting, Floats]: the mesh (478, 3) float32 in the square's pixels,
    whole numbers at their centres, z towards the back on the same scale; pixels are the square's.

    Two passes: the first crop comes from the keypoints, the second from the first mesh. path: the converted file.
    min_presence: probability of a face below which it is refused. threads: of one run; slots: runs at a time. Never runs
    in bf16, which moves points by pixels. A mesh does not depend on what ran with it: on a CPU every crop is a batch of
    its own.
    """

    def __init__(
        self,
        path: Path,
        *,
        precision: Precision = "fast",
        threads: int = 1,
        slots: int = 2,
        min_presence: float = 0.5,
        buckets: tuple[int, ...] = (1,),
        provider: str = CPU,
    ) -> None:
        self.buckets = buckets
        self.slots = slots
        self._min_presence = min_presence
        self._session = open_session(
            path, {IMAGE: (SIDE, SIDE, 3)}, precision=precision, threads=threads, slots=slots, buckets=buckets, provider=provider
        )
        check_outputs(self._session, OUTPUTS, "Face Mesh")

    def warm_up(self) -> None:
        for bucket in self.buckets:
            for points, presence in self._see(list(probe_picture({IMAGE: (bucket, SIDE, SIDE, 3)})[IMAGE])):
                if not (np.isfinite(points).all() and np.isfinite(presence)):
                    raise RuntimeError("Face Mesh does not work on this machine: its answer is not a number")

    def info(self) -> dict[str, str]:
        return {"model": "Face Mesh V2", "slots": str(self.slots), **self._session.info}

    def pre(self, item: FaceSquare) -> FaceSquare:
        check_picture(item.pixels)
        if item.keypoints.shape != (5, 2) or not np.isfinite(item.keypoints).all():
            raise ValueError(f"keypoints (5, 2) were expected, not {item.keypoints.shape}")
        return item

    def run(self, batch: Sequence[FaceSquare]) -> list[Sighting]:
        """In pixels of each square. What cannot be followed into the second pass keeps the first, for `post` to refuse."""
        first = self._look(batch, [crop_of_keypoints(face.keypoints) for face in batch])
        followed = [i for i, (points, _) in enumerate(first) if _usable(points)]
        second = self._look([batch[i] for i in followed], [crop_of_mesh(first[i][0]) for i in followed])
        sightings = dict(zip(followed, second, strict=True))
        return [sightings.get(i, sighting) for i, sighting in enumerate(first)]

    def post(self, item: FaceSquare, raw: Sighting) -> Floats:
        """Raises FaceError when there is no face to be seen, or none that the mesh fits."""
        points, presence = raw
        if not _usable(points) or not np.isfinite(presence):
            raise FaceError("The shape of the face could not be found. Try a picture with a larger, frontal face.")
        if presence < np.log(self._min_presence / (1 - self._min_presence)):
            raise FaceError("The face cannot be seen well enough: it may be covered, turned away or too small.")
        return points

    def _look(self, faces: Sequence[FaceSquare], crops: Sequence[Crop]) -> list[Sighting]:
        matrices = [crop.matrix() for crop in crops]
        sightings = self._see([_cut(face.pixels, matrix) for face, matrix in zip(faces, matrices, strict=True)])
        return [(_placed(points, matrix), presence) for (points, presence), matrix in zip(sightings, matrices, strict=True)]

    def _see(self, pictures: Sequence[Pixels]) -> list[Sighting]:
        """In pixels of the pictures, each (256, 256, 3)."""
        return [(points.reshape(POINTS, 3), float(presence[0])) for points, presence in run_pictures(self._session, pictures, self.buckets)]


def crop_of_keypoints(keypoints: Floats) -> Crop:
    """Around a face of which five points are known.

    Upright is taken from the eyes and from the way down to the mouth together, since of a face in profile the eyes alone
    say little; so is the size.
    """
    points = keypoints.astype(np.float64)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across, down = points[1] - points[0], mouth - eyes
    right = across + np.array([down[1], -down[0]])
    side = 3.6 * max(np.hypot(*across), 0.95 * np.hypot(*down), 1.0)
    return Crop(eyes + 0.45 * down, float(side), float(np.arctan2(right[1], right[0])))


def crop_of_mesh(points: Floats) -> Crop:
    """Around a mesh (478, 3): turned like its eyes, half as wide again as its box, as MediaPipe follows a face."""
    flat = points[:, :2].astype(np.float64)
    across = flat[RIGHT_EYE] - flat[LEFT_EYE]
    angle = float(np.arctan2(across[1], across[0]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = flat @ turn
    low, high = upright.min(0), upright.max(0)
    return Crop(turn @ ((low + high) / 2), float(1.5 * (high - low).max()), angle)


def _usable(points: Floats) -> bool:
    """Whether the points are numbers and make more than a dot."""
    return bool(np.isfinite(points).all() and np.ptp(points[:, :2], 0).max() >= 1)


def _cut(pixels: Pixels, matrix: Matrix) -> Pixels:
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (0.5, 0.5)  # OpenCV counts the crop's pixels from the first one's centre
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, shifted, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _placed(points: Floats, matrix: Matrix) -> Floats:
    """A mesh in pixels of the crop -> in pixels of the square."""
    flat = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([flat, points[:, 2] * np.hypot(*matrix[:, 0])]).astype(np.float32)
