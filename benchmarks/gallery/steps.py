"""What single steps of the built-in swap do: the same swaps without a step and with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """without: the engine's options that leave it out. pairs: (source, target) on which it shows."""

    name: str
    says: str
    without: Mapping[str, object]
    pairs: tuple[tuple[str, str], ...]


STEPS = (
    Step("shape", "the source's proportions", {"shape": 0.0}, (("Hanks", "t1-0"), ("t1-3", "astronaut"))),
    Step("light", "the target's shading", {"light": 0.0}, (("astronaut", "Hanks"), ("Hanks", "t1-5"))),
)
