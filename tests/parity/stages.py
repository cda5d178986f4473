"""Stage by stage, how far the service is from the library. Every stage is given the library's input, so that a miss stays where it is.

And how far `fast` is from `exact`, by what that does to a result: who a face is, where it is found, how its crop looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.vision.face import FaceError, Faces, Floats, Patch, Pixels, Square
from tests.parity.cases import SIDES, Case
from tests.parity.ours import CROP, Ours
from tests.parity.reference import Reference
from tests.parity.refusals import refusals

# The largest difference that is allowed, in levels, pixels, or the values themselves. Of `fast`: keypoints in shares of the
# face's box; 1 - cosine; root mean square in shares of white, where 0.01 is a peak signal-to-noise ratio of 40 dB.
ALLOWED = {
    "letterbox": 0.0,
    "detection 640": 0.0,
    "detection 128 + 640": 0.0,
    "order": 0.0,
    "alignment": 0.0,
    "crop": 0.0,
    "embedding": 1e-5,
    "latent": 0.0,
    "swapped crop": 0.0,
    "paste": 2.0,
    "whole frame": 2.0,
    "refusals": 0.0,
    "fast keypoints": 0.03,
    "fast embedding": 1e-3,
    "fast crop": 0.01,
}

# Root mean square differences, of which the table says the decibels too: of the worst crop, which must hold, and of all as one.
CROPS = {"fast crop"}

Difference = tuple[str, float]


@dataclass(slots=True)
class Row:
    """One line of the table; `where` names the worst case."""

    stage: str
    compared: int = 0
    largest: float = 0.0
    squares: float = 0.0
    where: str = ""

    @property
    def allowed(self) -> float:
        return ALLOWED[self.stage]

    @property
    def missed(self) -> bool:
        return not self.compared or not self.largest <= self.allowed

    @property
    def together(self) -> float:
        """The root mean square of all differences."""
        return float(np.sqrt(self.squares / max(self.compared, 1)))


@dataclass(slots=True)
class Table:
    rows: dict[str, Row] = field(default_factory=lambda: {stage: Row(stage) for stage in ALLOWED})

    def add(self, name: str, differences: Iterable[Difference]) -> None:
        for stage, difference in differences:
            row = self.rows[stage]
            row.compared += 1
            row.squares += difference**2
            if not difference <= row.largest:
                row.largest, row.where = difference, name

    @property
    def missed(self) -> list[str]:
        return [stage for stage, row in self.rows.items() if row.missed]


def compare(reference: Reference, ours: Ours, fast: Ours, case: Case, *, most: int = 4) -> Iterator[Difference]:
    """All differences on one case. most: so many of its faces are swapped."""
    reference.forget()
    for sides in (SIDES[1:], SIDES):
        boxes, scores, keypoints, frames = reference.detect(case.picture, sides)
        made = tuple(ours.letterbox(case.picture, side) for side in sides)
        yield from (("letterbox", apart(frame.square(), theirs)) for frame, theirs in zip(made, frames, strict=True))
        yield from _detection(ours.detect(made), Faces(boxes, scores, keypoints), "detection " + " + ".join(map(str, sides)))
        yield "fast keypoints", drift(fast.detect(made), Faces(boxes, scores, keypoints))
    embedding = reference.embed(case.stranger)
    nowhere = np.zeros((5, 2), np.float32)
    yield "embedding", relative(ours.embed(case.stranger, nowhere), embedding)
    yield "fast embedding", unlike(fast.embed(case.stranger, nowhere), embedding)
    chosen = case.chosen(keypoints, most)
    accepted: list[Floats] = []
    for points in chosen:
        yield from _alignment(reference, ours, fast, case.picture, points)
        try:
            square = ours.crop(case.picture, points, CROP)
        except FaceError:
            yield "refusals", float(_pasted(reference, case.picture, points, embedding) is not None)
            continue
        accepted.append(points)
        yield from _swap(reference, ours, case.picture, points, square, embedding)
        ((quick,), (patch,)) = (side.swap([square], embedding) for side in (fast, ours))
        yield "fast crop", contrast(quick.pixels, patch.pixels)
    if accepted:
        result = case.picture
        for points in accepted:
            pasted = _pasted(reference, result, points, embedding)
            result = result if pasted is None else pasted
        yield "whole frame", apart(ours.swap_all(case.picture, accepted, ours.embed(case.stranger, accepted[0])), result)


def _detection(found: Faces, theirs: Faces, stage: str) -> Iterator[Difference]:
    same = len(found) == len(theirs)
    pairs = ((found.boxes, theirs.boxes), (found.scores, theirs.scores), (found.keypoints, theirs.keypoints))
    yield stage, max(apart(a, b) for a, b in pairs) if same else np.inf
    yield "order", float(_displaced(found.boxes, theirs.boxes)) if same else np.inf


def _displaced(found: Floats, theirs: Floats) -> int:
    """How many boxes are not nearest to the box in their place."""
    if not len(theirs):
        return 0
    far = np.abs(found[:, None] - theirs[None]).max(2)
    return int((far.diagonal() > far.min(1)).sum())


def _alignment(reference: Reference, ours: Ours, fast: Ours, picture: Pixels, points: Floats) -> Iterator[Difference]:
    for size in (112, CROP):
        crop, matrix = reference.crop(picture, points, size)
        try:
            square = ours.crop(picture, points, size)
        except FaceError:
            continue  # whether that was right is asked where the face would be pasted
        yield "alignment", apart(square.matrix, matrix)
        yield "crop", apart(square.pixels, crop)
        if size == 112:
            embedding = reference.embed(crop)
            yield "embedding", relative(ours.embed(crop, square.keypoints), embedding)
            yield "fast embedding", unlike(fast.embed(crop, square.keypoints), embedding)


def _swap(reference: Reference, ours: Ours, picture: Pixels, points: Floats, square: Square, embedding: Floats) -> Iterator[Difference]:
    latent, crop = reference.swap(picture, points, embedding)
    yield "latent", apart(ours.latent(embedding), latent)
    (patch,) = ours.swap([square], embedding)
    yield "swapped crop", apart(patch.pixels, crop)
    pasted = _pasted(reference, picture, points, embedding)
    result = ours.paste(picture, [(Patch(crop, patch.mask), square.matrix)])
    if pasted is None:
        yield "refusals", apart(result, picture)
    else:
        yield "paste", apart(result, pasted)


def _pasted(reference: Reference, picture: Pixels, points: Floats, embedding: Floats) -> Pixels | None:
    """None where the library fails because nothing of the face is in the picture."""
    try:
        return reference.paste(picture, points, embedding)
    except ValueError:
        return None


def apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The largest difference of two arrays, infinite where shapes or types differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return np.inf
    worst = float(np.abs(a.astype(np.float64) - b).max(initial=0.0))
    return worst if np.isfinite(worst) else np.inf


def relative(a: Floats, b: Floats) -> float:
    """The largest difference of two embeddings of length 1, not forgiving different lengths."""
    return apart(a, b) / float(np.linalg.norm(b))


def unlike(a: Floats, b: Floats) -> float:
    """1 - cosine of two embeddings."""
    wide = a.astype(np.float64), b.astype(np.float64)
    cosine = float(wide[0] @ wide[1] / np.linalg.norm(wide[0]) / np.linalg.norm(wide[1]))
    return 1 - cosine if np.isfinite(cosine) else np.inf


def contrast(a: Pixels, b: Pixels) -> float:
    """Root mean square difference of two pictures, where 1 is from black to white."""
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2))) / 255


def drift(found: Faces, expected: Faces) -> float:
    """How far the worst keypoint is from its face's nearest one, in shares of the box; infinite for other numbers of faces."""
    if len(found) != len(expected):
        return np.inf
    if not len(found):
        return 0.0
    far = np.linalg.norm(found.keypoints[None] - expected.keypoints[:, None], axis=3).max(2)
    return float((far.min(1) / (expected.boxes[:, 2:] - expected.boxes[:, :2]).max(1)).max())


def tabulate(reference: Reference, ours: Ours, fast: Ours, cases: Iterable[Case], *, most: int = 4, table: Table | None = None) -> Table:
    """What the service answers where the library fails, and all cases; added to `table`, if there is one."""
    table = table or Table()
    for refusal in refusals(reference, ours):
        table.add(refusal.name, [("refusals", 0.0 if refusal.kept else np.inf)])
    for case in cases:
        table.add(case.name, compare(reference, ours, fast, case, most=most))
    return table


def lines(table: Table) -> Sequence[str]:
    head = ["| stage | compared | largest difference | allowed | worst case |", "|---|---|---|---|---|"]
    return head + [_line(row) for row in table.rows.values()]


def _line(row: Row) -> str:
    figures = f" ({decibels(row.largest):.1f} dB, all together {decibels(row.together):.1f} dB)" if row.stage in CROPS else ""
    where = f"{'MISSED: ' if row.missed else ''}{row.where}{figures}"
    return f"| {row.stage} | {row.compared} | {row.largest:.3g} | {row.allowed:g} | {where} |"


def decibels(contrast: float) -> float:
    """The peak signal-to-noise ratio of a root mean square difference, where 1 is from black to white."""
    return -20 * float(np.log10(contrast)) if contrast > 0 else np.inf
