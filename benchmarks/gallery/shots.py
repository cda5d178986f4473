"""One swap, measured: tests/fit.py says how it sits in its picture, tests/measures.py whose face it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.gallery.wardrobe import dressed
from serve_app.engines.builtin import MeshSwapEngine
from serve_app.engines.weights import load_topology
from serve_app.vision.face import FaceError, Pixels, SwapItem
from serve_app.vision.mesh import yaw
from serve_app.vision.paste import paste
from tests.fit import Fit, fit, laid
from tests.gallery import Person, finder, gallery
from tests.measures import Frontal

# The two sources of docs/decisions/0009: every result has to look more like its own source than like them.
REFERENCES = ("astronaut", "Hanks")


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A result and what was measured on it.

    result: (H, W, 3) uint8 BGR. apart: degrees between the directions in which source and target look. lead: how much more it looks like
    its source than like the nearer of REFERENCES. first: the same of the nearest of everybody, and nearest: who that is; never the target.
    gain: how much more it looks like its source than the target did.
    """

    source: str
    target: str
    result: Pixels
    fit: Fit
    apart: float
    lead: float
    first: float
    nearest: str
    gain: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A swap that the engine does not make, and why."""

    source: str
    target: str
    why: str


class Studio:
    """Swaps the people whom installed packages carry and measures what came of it. folder: of the built-in model files."""

    def __init__(self, folder: Path) -> None:
        self._finder, self._topology = finder(folder), load_topology(folder)
        self._frontal = Frontal(self._topology)
        self._people = dict(gallery(folder).everybody)
        self._faces = {name: self._frontal.align(one) for name, one in self._people.items()}

    @property
    def names(self) -> list[str]:
        """Of those whom the packages carry."""
        return list(self._faces)

    def person(self, name: str) -> Person:
        """By name; after a comma what the person wears. Such a picture is a new one: the face is found and measured anew."""
        if name not in self._people:
            whose, wearing = name.split(", ")
            bare = self._people[whose]
            self._people[name] = self._finder.nearest(dressed(bare, wearing), bare.keypoints)
        return self._people[name]

    def engine(self, **options: object) -> MeshSwapEngine:
        return MeshSwapEngine(self._topology, **options)  # type: ignore[arg-type]  # a step says which

    def shoot(self, engine: MeshSwapEngine, source: str, target: str) -> Shot | Refused:
        onto = self.person(target)
        item = SwapItem(self.person(source).portrait, onto.portrait)
        try:
            patch = engine.post(item, engine.run([engine.pre(item)])[0])
        except FaceError as error:
            return Refused(source, target, str(error))
        return self.measure(source, target, paste(onto.picture, [(patch, onto.matrix)]), laid(onto, patch))

    def measure(self, source: str, target: str, result: Pixels, mask: Pixels) -> Shot:
        """result: the target's picture with a new face. mask: (H, W) uint8, where."""
        onto, whose = self.person(target), target.split(", ")[0]
        found = self._finder.nearest(result, onto.keypoints)
        face, own = self._frontal.align(found), self._faces[source]
        others = [name for name in self.names if name not in (source, whose)]
        first, nearest = self._frontal.lead(face, own, [self._faces[name] for name in others])
        references = [name for name in REFERENCES if name in others] or others
        lead, _ = self._frontal.lead(face, own, [self._faces[name] for name in references])
        gain = self._frontal.gain(face, own, self._faces[whose])
        looks = [yaw(one.mesh.astype(np.float64)) for one in (self.person(source), onto)]
        return Shot(source, target, result, fit(result, found, onto, mask), abs(looks[0] - looks[1]), lead, first, others[nearest], gain)
