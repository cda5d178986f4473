"""The gallery as one picture: targets down, sources across, and under them what every step does."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from benchmarks.gallery.crops import crop
from benchmarks.gallery.exhibition import Compared, Exhibition
from benchmarks.gallery.gates import GATES
from benchmarks.gallery.shots import Refused, Shot, Studio
from serve_app.vision.face import Pixels

SIDE, LINE = 168, 16  # pixels
PAPER, INK, RED = (255, 255, 255), (60, 60, 60), (40, 40, 210)


def sheet(shown: Exhibition) -> Pixels:
    """(h, w, 3) uint8 BGR. A swap that misses a gate has red lines."""
    return _stack([*_matrix(shown), *(row for step in shown.steps for row in _steps(shown.studio, step))])


def _matrix(shown: Exhibition) -> list[Pixels]:
    names = shown.studio.names
    swaps = {(swap.target, swap.source): swap for swap in shown.swaps}
    sources = [name for name in names if any(name == source for _, source in swaps)]
    targets = [name for name in names if any(name == target for target, _ in swaps)]
    rows = [_row([_tile(None, ["target", "and source:"]), *(_tile(_own(shown.studio, name), [name]) for name in sources)])]
    for target in targets:
        cells = [_cell(shown.studio, swaps.get((target, source))) for source in sources]
        rows.append(_row([_tile(_own(shown.studio, target), [target]), *cells]))
    return rows


def _steps(studio: Studio, compared: Compared) -> list[Pixels]:
    """Two swaps a row."""
    four = []
    for without, with_ in compared.shots:
        ends = [_tile(_own(studio, name), name.split(", ")) for name in (with_.target, with_.source)]
        titles = [f"without {compared.step.name}", f"with {compared.step.name}"]
        four.append(_row([*ends, *(_cell(studio, one, [title]) for one, title in zip((without, with_), titles, strict=True))]))
    return [_row(four[at : at + 2]) for at in range(0, len(four), 2)]


def _cell(studio: Studio, swap: Shot | Refused | None, title: Sequence[str] = ()) -> Pixels:
    if swap is None:
        return _tile(None, [])
    if isinstance(swap, Refused):
        return _tile(None, [*title, "refused:", *(swap.why[at : at + 26] for at in range(0, min(len(swap.why), 130), 26))])
    fit = f"seam {swap.fit.seam:.2f}  points {100 * swap.fit.landmarks:.1f} %"
    identity = f"lead {swap.lead:.2f}  first {swap.first:.2f}  gain {swap.gain:.2f}"
    lines = [*title, fit, identity]
    return _tile(crop(swap.result, studio.person(swap.target), SIDE), lines, INK if all(gate.holds(swap) for gate in GATES) else RED)


def _own(studio: Studio, name: str) -> Pixels:
    who = studio.person(name)
    return crop(who.picture, who, SIDE)


def _tile(picture: Pixels | None, lines: Sequence[str], colour: tuple[int, int, int] = INK) -> Pixels:
    """A picture with lines of text under it, or the text alone."""
    tile = np.full((SIDE + 3 * LINE + 6, SIDE + 4, 3), 255, np.uint8)
    if picture is not None:
        tile[:SIDE, 2 : SIDE + 2] = picture
    for number, line in enumerate(lines):
        at = (4, (LINE if picture is None else SIDE + LINE - 4) + number * LINE)
        cv2.putText(tile, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)
    return tile


def _row(tiles: Sequence[Pixels]) -> Pixels:
    return np.hstack(list(tiles))


def _stack(rows: Sequence[Pixels]) -> Pixels:
    width = max(row.shape[1] for row in rows)
    return np.vstack([cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=PAPER) for row in rows])
