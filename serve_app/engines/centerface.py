"""CenterFace: faces and their five keypoints in a picture (Xu et al., "CenterFace: Joint Face Detection and Alignment
Using Face as Point", 2019; weights by Star-Clouds, MIT)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serve_app.engines.choice import Precision, open_session, probe_picture
from serve_app.engines.pictures import IMAGE, check_outputs, check_picture, run_pictures
from serve_app.engines.session import CPU, Array
from serve_app.vision.face import FaceError, Faces, Floats, Pixels

OUTPUTS = ("score", "size", "offset", "points")
STRIDE = 4
UNREADABLE = "The face detector could not make sense of this picture."


class CenterFaceEngine:
    """Engine[Pixels, Pixels, list[Array], Faces]: a frame (side, side, 3) uint8 BGR in, its faces out, in the frame's
    pixels counted from its edge.

    path: the converted file. side: of frames, a multiple of 32. min_score: weaker faces are left out. overlap: of two
    faces that share more of their area (intersection over union) the weaker goes. threads: of one run; slots: runs at a
    time. A face's result does not depend on what ran with it: on a CPU every frame is a batch of its own.
    """

    def __init__(
        self,
        path: Path,
        *,
        side: int = 640,
        precision: Precision = "fast",
        threads: int = 2,
        slots: int = 1,
        min_score: float = 0.5,
        overlap: float = 0.3,
        buckets: tuple[int, ...] = (1,),
        provider: str = CPU,
    ) -> None:
        self.buckets = buckets
        self.slots = slots
        self._side = side
        self._min_score = min_score
        self._overlap = overlap
        self._session = open_session(
            path,
            {IMAGE: (side, side, 3)},
            precision=precision,
            threads=threads,
            slots=slots,
            buckets=buckets,
            allow_bf16=True,
            provider=provider,
        )
        check_outputs(self._session, OUTPUTS, "CenterFace")

    def warm_up(self) -> None:
        for bucket in self.buckets:
            frames = list(probe_picture({IMAGE: (bucket, self._side, self._side, 3)})[IMAGE])
            for frame, raw in zip(frames, self.run(frames), strict=True):
                try:
                    self.post(frame, raw)
                except FaceError as error:
                    raise RuntimeError(f"CenterFace does not work on this machine: {error}") from error

    def info(self) -> dict[str, str]:
        return {"model": "CenterFace", "slots": str(self.slots), **self._session.info}

    def pre(self, item: Pixels) -> Pixels:
        check_picture(item, self._side)
        return item

    def run(self, batch: Sequence[Pixels]) -> list[list[Array]]:
        return run_pictures(self._session, batch, self.buckets)

    def post(self, item: Pixels, raw: Sequence[Array]) -> Faces:
        """Raises FaceError when the model's output is not finite."""
        faces = decode(*raw, min_score=self._min_score)
        kept = suppress(faces.boxes, self._overlap)
        return Faces(faces.boxes[kept], faces.scores[kept], faces.keypoints[kept])


def decode(score: Floats, size: Floats, offset: Floats, points: Floats, *, min_score: float) -> Faces:
    """Every cell above `min_score` as a face, in the frame's pixels, best score first; of equal ones the upper left first.

    score (1, h, w); size (2, h, w): logarithm of height and width in cells; offset (2, h, w): y and x of the centre in
    the cell; points (10, h, w): y and x of five points as shares of the box. Boxes may reach past the frame.
    Raises FaceError when a value is not finite.
    """
    if not all(np.isfinite(values).all() for values in (score, size, offset, points)):
        raise FaceError(UNREADABLE)
    y, x = np.nonzero(score[0] > min_score)
    order = np.lexsort((x, y, -score[0, y, x]))
    y, x = y[order], x[order]
    with np.errstate(over="ignore", invalid="ignore"):
        sides = np.exp(size[::-1, y, x].T) * STRIDE
        centres = (np.stack([x, y], 1) + offset[::-1, y, x].T + 0.5) * STRIDE
        corners = centres - sides / 2
        boxes = np.concatenate([corners, corners + sides], 1)
        keypoints = points[:, y, x].T.reshape(-1, 5, 2)[:, :, ::-1] * sides[:, None] + corners[:, None]
    if not (np.isfinite(boxes).all() and np.isfinite(keypoints).all()):
        raise FaceError(UNREADABLE)
    return Faces(boxes.astype(np.float32), score[0, y, x].astype(np.float32), keypoints.astype(np.float32))


def suppress(boxes: Floats, overlap: float) -> NDArray[np.intp]:
    """Indices of the boxes (n, 4), best first, that no better kept one overlaps by more than `overlap` (IoU)."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    rest = np.arange(len(boxes))
    kept = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        shared = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        common = np.prod(np.maximum(shared, 0), 1)
        rest = rest[common <= overlap * (areas[best] + areas[rest] - common)]
    return np.array(kept, np.intp)
