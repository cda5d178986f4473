"""What every benchmark hands back: all that it counted, and how to show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Points: TypeAlias = Sequence[tuple[float | str, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """points: x and y, by the name of their line, or of their colour among the bars. limit: what must hold, drawn across."""

    title: str
    x: str
    y: str
    points: Mapping[str, Points]
    kind: Literal["line", "steps", "bars"] = "line"
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """figures: raw counts and times, as JSON can hold them. table: Markdown. missed: what must hold and does not, in words."""

    figures: Mapping[str, Any]
    table: str
    charts: Sequence[Chart] = ()
    missed: Sequence[str] = ()

    def document(self, name: str, seconds: float, machine: Mapping[str, object]) -> dict[str, Any]:
        """All of it for a file; the page and the pictures are made from that alone."""
        return {"name": name, "machine": dict(machine), "seconds": seconds, **asdict(self)}
