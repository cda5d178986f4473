"""Charts as one PNG. The same charts give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.0, 3.6  # inches of one chart


def png(charts: Sequence[Mapping[str, Any]]) -> bytes:
    """charts: as documents have them (result.Chart), one below the other."""
    figure = Figure(figsize=(WIDTH, HEIGHT * len(charts)), layout="constrained")
    for axes, chart in zip(figure.subplots(len(charts), 1, squeeze=False)[:, 0], charts, strict=True):
        _draw(axes, chart)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _draw(axes: Axes, chart: Mapping[str, Any]) -> None:
    axes.set(title=chart["title"], xlabel=chart["x"], ylabel=chart["y"])
    if chart["kind"] == "bars":
        _bars(axes, chart["points"])
    else:
        for name, points in chart["points"].items():
            (line,) = axes.plot(*zip(*points, strict=True), label=name)
            if chart["kind"] == "steps":
                line.set_drawstyle("steps-post")
            else:
                line.set_marker(".")
    if chart["limit"] is not None:
        axes.axhline(chart["limit"], linestyle="--", color="grey")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if len(chart["points"]) > 1:
        axes.legend(fontsize="small")


def _bars(axes: Axes, groups: Mapping[str, Sequence[tuple[Any, float]]]) -> None:
    """Beside each other where several have the same x."""
    places = list(dict.fromkeys(str(x) for points in groups.values() for x, _ in points))
    width = 0.8 / len(groups)
    for number, (name, points) in enumerate(groups.items()):
        left = [places.index(str(x)) - 0.4 + width * (number + 0.5) for x, _ in points]
        axes.bar(left, [y for _, y in points], width, label=name)
    axes.set_xticks(range(len(places)), places, rotation=0 if len(places) < 8 else 20, ha="center" if len(places) < 8 else "right")
