"""One swap, measured: tests/fit.py says how it sits in its picture, tests/measures.py whose face it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serve_app.engines.builtin import MeshSwapEngine
from serve_app.engines.weights import load_topology
from serve_app.vision.face import FaceError, Pixels, SwapItem
from serve_app.vision.paste import paste
from tests.fit import Fit, fit, laid, turned
from tests.gallery import finder, gallery
from tests.measures import Frontal


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A result and what was measured on it.

    result: (H, W, 3) uint8 BGR. apart: degrees between the directions in which source and target look. lead: how much more it looks like
    its source than like the nearest of everybody else but the target, and nearest: who that is. gain: how much more it looks like its
    source than the target did.
    """

    source: str
    target: str
    result: Pixels
    fit: Fit
    apart: float
    lead: float
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
        self.people = dict(gallery(folder).everybody)
        self._faces = {name: self._frontal.align(one) for name, one in self.people.items()}
        self._who = {name: name for name in self.people}

    def dress(self, name: str, picture: Pixels, whose: str) -> None:
        """The same person in a picture that something was painted into, as a further target, found and measured anew."""
        self.people[name] = self._finder.nearest(picture, self.people[whose].keypoints)
        self._who[name] = whose

    def engine(self, **options: object) -> MeshSwapEngine:
        return MeshSwapEngine(self._topology, **options)  # type: ignore[arg-type]

    def shoot(self, engine: MeshSwapEngine, source: str, target: str) -> Shot | Refused:
        onto = self.people[target]
        item = SwapItem(self.people[source].portrait, onto.portrait)
        try:
            patch = engine.post(item, engine.run([engine.pre(item)])[0])
        except FaceError as error:
            return Refused(source, target, str(error))
        return self.measure(source, target, paste(onto.picture, [(patch, onto.matrix)]), laid(onto, patch))

    def measure(self, source: str, target: str, result: Pixels, mask: Pixels) -> Shot:
        """result: the target's picture with a new face. mask: (H, W) uint8, where."""
        onto, whose = self.people[target], self._who[target]
        found = self._finder.nearest(result, onto.keypoints)
        face, own = self._frontal.align(found), self._faces[source]
        others = [name for name in self._faces if name not in (source, whose)]
        lead, nearest = self._frontal.lead(face, own, [self._faces[name] for name in others])
        gain = self._frontal.gain(face, own, self._faces[whose])
        apart = abs(turned(self.people[source].mesh) - turned(onto.mesh))
        return Shot(source, target, result, fit(result, found, onto, mask), apart, lead, others[nearest], gain)
