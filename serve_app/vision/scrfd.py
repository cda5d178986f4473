"""What surrounds SCRFD, the face detector of the InsightFace family: the frame it looks at, and faces out of its outputs.

(Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021.) Every step follows
`insightface.model_zoo.scrfd.SCRFD.detect` of insightface 2.1 in order and in arithmetic (float32), so that boxes, scores, keypoints
and their order are the library's bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np

from serve_app.vision.face import FaceError, Faces, Floats, Frame, Pixels

STRIDES = (8, 16, 32)
ANCHORS = 2  # faces that each cell may hold

# One level's outputs for H x W pixels of a frame, with n = 2 * H / stride * W / stride rows ordered by y, x, anchor:
# scores (n, 1) in 0..1; distances (n, 4) from the cell to left, top, right, bottom; offsets (n, 10) to five points. In cells.
Level: TypeAlias = tuple[Floats, Floats, Floats]


def library_letterbox(bgr: Pixels, side: int) -> Frame:
    """A (H, W, 3) uint8 BGR picture in the top left of a frame, bilinear, sides cut to whole pixels.

    The same pixels and scale as the library's, which fails on pictures so long that their short side comes to no pixel at all:
    here it comes to one, and the scale is the long side's.
    """
    height, width = bgr.shape[:2]
    ratio = float(height) / width
    new_height, new_width = (side, int(side / ratio)) if ratio > 1 else (int(side * ratio), side)
    scale = float(new_height) / height if new_height else float(side) / width
    new_height, new_width = max(1, new_height), max(1, new_width)
    return Frame(np.asarray(cv2.resize(bgr, (new_width, new_height)), np.uint8), side, scale)


@lru_cache(maxsize=128)
def anchors(height: int, width: int) -> tuple[Floats, ...]:
    """The cells' corners (n, 2) float32, x and y in pixels of the frame, one array a stride; rows as in `Level`. Read-only."""
    levels = []
    for stride in STRIDES:
        x, y = np.meshgrid(*(np.arange(side // stride, dtype=np.float32) * stride for side in (width, height)))
        level = np.repeat(np.stack([x, y], -1).reshape(-1, 2), ANCHORS, 0)
        level.setflags(write=False)
        levels.append(level)
    return tuple(levels)


def decode(levels: Sequence[Level], size: tuple[int, int], scale: float, min_score: float = 0.5) -> Faces:
    """The candidates of one frame in pixels of the picture, not sorted: many overlap; `merge` picks the faces.

    levels: one of each stride, finest first. size: height and width of what the net saw. scale: the frame's (see `Frame`).
    A candidate scores `min_score` or more. Boxes may reach past the picture. Raises FaceError when an output is not finite,
    ValueError when the shapes do not fit the size.
    """
    parts: list[tuple[Floats, Floats, Floats]] = []
    for stride, cells, (scores, distances, offsets) in zip(STRIDES, anchors(*size), levels, strict=True):
        n = len(cells)
        if (scores.shape, distances.shape, offsets.shape) != ((n, 1), (n, 4), (n, 10)):
            raise ValueError(f"stride {stride} of {size[0]} x {size[1]} pixels: {n} rows of 1, 4 and 10 values are needed")
        if not (np.isfinite(scores).all() and np.isfinite(distances).all() and np.isfinite(offsets).all()):
            raise FaceError("The face detector could not make sense of this picture.")
        hits = np.flatnonzero(scores[:, 0] >= min_score)
        corners = cells[hits]
        reach: Floats = distances[hits] * np.float32(stride)
        boxes: Floats = np.concatenate([corners - reach[:, :2], corners + reach[:, 2:]], 1)
        points: Floats = corners[:, None] + (offsets[hits] * np.float32(stride)).reshape(-1, 5, 2)
        parts.append((boxes, scores[hits, 0], points))
    boxes, score, points = (np.concatenate(part) for part in zip(*parts, strict=True))
    divisor = np.float32(scale)
    return Faces(boxes / divisor, np.asarray(score, np.float32), points / divisor)


def merge(candidates: Sequence[Faces], overlap: float = 0.4) -> Faces:
    """The faces among the candidates of one picture, seen in one frame or in several, best score first.

    Of equal scores the earlier comes first. A candidate goes when a better kept one shares more than `overlap` of their union, where
    a box from pixel 3 to pixel 5 counts as three wide.
    """
    boxes = np.concatenate([np.empty((0, 4), np.float32), *(faces.boxes for faces in candidates)])
    scores = np.concatenate([np.empty(0, np.float32), *(faces.scores for faces in candidates)])
    points = np.concatenate([np.empty((0, 5, 2), np.float32), *(faces.keypoints for faces in candidates)])
    order = np.argsort(-scores, kind="stable")
    boxes, scores, points = boxes[order], scores[order], points[order]
    kept = _suppress(boxes, overlap)
    return Faces(boxes[kept], scores[kept], points[kept])


def _suppress(boxes: Floats, overlap: float) -> list[int]:
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    rest = np.arange(len(boxes))
    kept: list[int] = []
    while len(rest):
        best, rest = int(rest[0]), rest[1:]
        kept.append(best)
        shared = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = np.maximum(np.float32(0), shared + 1)
        common = sides[:, 0] * sides[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):  # a box turned inside out has no area, or less
            rest = rest[common / (areas[best] + areas[rest] - common) <= overlap]
    return kept
