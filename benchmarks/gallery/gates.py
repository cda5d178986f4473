"""What must hold of every swap in the gallery. tests/fit.py and tests/measures.py define the measures, docs/gallery.md explains them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.gallery.shots import Shot

FRONTAL = 25.0  # degrees: landmarks are asked of heads turned less
APART = 60.0  # degrees: heads that look further apart show different halves of their faces


@dataclass(frozen=True, slots=True)
class Gate:
    """A measure and its bound. most: whether the bound is the largest value, else what the value must exceed. asked_of: which swaps."""

    name: str
    says: str
    value: Callable[[Shot], float]
    bound: float
    most: bool = True
    percent: bool = False
    asked_of: Callable[[Shot], bool] = lambda shot: True

    def shown(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.percent else f"{value:.3f}"

    def of(self, shot: Shot) -> str:
        """The value for people, in brackets where it is not asked of the swap."""
        shown = self.shown(self.value(shot))
        return shown if self.asked_of(shot) else f"({shown})"

    @property
    def asked(self) -> str:
        return f"{'at most' if self.most else 'more than'} {self.shown(self.bound)}"

    def holds(self, shot: Shot) -> bool:
        """Also where it is not asked of the swap. Of what is no number it does not."""
        value = self.value(shot)
        return not self.asked_of(shot) or (value <= self.bound if self.most else value > self.bound)

    def miss(self, shot: Shot) -> str:
        """For people."""
        return f"{shot.target} <- {shot.source}: {self.name} {self.shown(self.value(shot))}, not {self.asked}"


def _bare(shot: Shot) -> bool:
    """A thing before the target's face is in the result as well, and like nobody's face."""
    return "," not in shot.target


def _alike(shot: Shot) -> bool:
    return _bare(shot) and shot.apart < APART


GATES = (
    Gate("black", "largest black region that the swap made, of the mask", lambda shot: shot.fit.black, 0.002, percent=True),
    Gate("seam", "gradient across the mask's edge, of that 8 pixels inside and outside", lambda shot: shot.fit.seam, 1.2),
    Gate(
        "landmarks",
        f"mean distance of the face's points from the target's, of the eyes' distance, where the head is turned less than {FRONTAL:.0f}°",
        lambda shot: shot.fit.landmarks,
        0.04,
        percent=True,
        asked_of=lambda shot: shot.fit.turned < FRONTAL,
    ),
    Gate(
        "lead",
        "likeness to its source less that to the nearer of the two sources of docs/decisions/0009, where nothing hides the face",
        lambda shot: shot.lead,
        0.0,
        most=False,
        asked_of=_bare,
    ),
    Gate(
        "first",
        f"the same of the nearest of six others, where the heads are under {APART:.0f}° apart",
        lambda shot: shot.first,
        0.0,
        most=False,
        asked_of=_alike,
    ),
    Gate(
        "gain",
        "likeness to its source less what the target's was, where the same",
        lambda shot: shot.gain,
        0.03,
        most=False,
        asked_of=_alike,
    ),
)
