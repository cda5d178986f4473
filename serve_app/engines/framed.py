"""Lets a detector of single frames take pictures as every family's detector does: framed at one or more sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve_app.engines.protocol import Engine
from serve_app.vision.face import Faces, Frame, Pixels


class Framed:
    """Engine[tuple[Frame, ...], Any, Any, Faces] over an Engine[Pixels, Any, Any, Faces]: looks at the first frame only.

    Faces come out in pixels of the picture that was framed.
    """

    def __init__(self, engine: Engine[Pixels, Any, Any, Faces]) -> None:
        self._engine = engine
        self.buckets = engine.buckets
        self.slots = engine.slots

    def warm_up(self) -> None:
        self._engine.warm_up()

    def info(self) -> dict[str, str]:
        return self._engine.info()

    def pre(self, item: tuple[Frame, ...]) -> Any:
        return self._engine.pre(item[0].square())

    def run(self, batch: Sequence[Any]) -> Sequence[Any]:
        return self._engine.run(batch)

    def post(self, item: tuple[Frame, ...], raw: Any) -> Faces:
        return self._engine.post(item[0].square(), raw).scaled(1 / item[0].scale)
