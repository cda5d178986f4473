"""What single steps of the built-in swap do: the same swaps without a step and with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from serve_app.vision.steps import EVERY_STEP


@dataclass(frozen=True, slots=True)
class Step:
    """without: the engine's options that leave it out. pairs: (source, target) on which it shows; a target may wear something of
    tests/things.py, after a comma."""

    name: str
    says: str
    without: Mapping[str, object]
    pairs: tuple[tuple[str, str], ...]


STEPS = (
    Step(
        "occlusion",
        "What lies before the face stays, if it can be told from skin. (Painted: no package has a photograph of it.)",
        {"steps": replace(EVERY_STEP, occlusion=False)},
        (
            ("t1-5", "astronaut, black glasses"),
            ("astronaut", "t1-2, microphone"),
            ("Hanks", "t1-3, blue glove"),
            ("astronaut", "t1-5, brown strands"),
            ("t1-2", "t1-0, sunglasses"),
            ("t1-0", "astronaut"),
        ),
    ),
    Step(
        "grain",
        "The new face is as soft and as noisy as the target.",
        {"steps": replace(EVERY_STEP, grain=False)},
        (("t1-3", "Hanks"), ("t1-5", "t1-2, noise"), ("astronaut", "t1-2, blur")),
    ),
    Step(
        "gaze",
        "The new face looks where the target looked.",
        {"steps": replace(EVERY_STEP, gaze="source")},
        (("astronaut", "t1-2"), ("Hanks", "astronaut"), ("t1-2", "Hanks")),
    ),
    Step("shape", "The source's proportions are taken over.", {"shape": 0.0}, (("Hanks", "t1-0"), ("t1-3", "astronaut"))),
    Step("light", "The target's shading is laid on.", {"light": 0.0}, (("astronaut", "Hanks"), ("Hanks", "t1-5"))),
)
