"""All that the gallery shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.gallery.gates import GATES
from benchmarks.gallery.shots import Refused, Shot, Studio
from benchmarks.gallery.steps import STEPS, Step


@dataclass(frozen=True, slots=True)
class Compared:
    """A step, and the swaps of its pairs without and with it."""

    step: Step
    shots: tuple[tuple[Shot | Refused, Shot | Refused], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Exhibition:
    studio: Studio
    swaps: tuple[Shot | Refused, ...]
    steps: tuple[Compared, ...]

    @property
    def measured(self) -> list[Shot]:
        """All swaps with every step."""
        shots = [*self.swaps, *(with_ for step in self.steps for _, with_ in step.shots)]
        return [shot for shot in shots if isinstance(shot, Shot)]

    @property
    def missed(self) -> list[str]:
        return [gate.miss(shot) for shot in self.measured for gate in GATES if not gate.holds(shot)]


def exhibit(studio: Studio, most: int | None = None, steps: Sequence[Step] = STEPS) -> Exhibition:
    """most: swaps, and pairs of each step; all of them if not given."""
    engine = studio.engine()
    swaps = tuple(studio.shoot(engine, source, target) for source, target in everyone_onto_everyone(studio.names)[:most])
    compared = []
    for step in steps:
        sides = [(studio.shoot(studio.engine(**step.without), *pair), studio.shoot(engine, *pair)) for pair in step.pairs[:most]]
        compared.append(Compared(step, tuple(sides)))
    return Exhibition(studio, swaps, tuple(compared))


def everyone_onto_everyone(names: Sequence[str]) -> list[tuple[str, str]]:
    """(source, target): first everybody onto the next one, then onto the one after the next, so that a few swaps show everybody."""
    return [(names[at], names[(at + step) % len(names)]) for step in range(1, len(names)) for at in range(len(names))]
