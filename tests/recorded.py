"""What was recorded, for tests of what records."""

from __future__ import annotations

from collections import Counter

from serve_app.metrics import Metric


class Recorded:
    """A Recorder. counted: sums of counters, by metric and the values of its labels. last: of gauges and infos; every: of histograms."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.last: dict[tuple[str, ...], float] = {}
        self.every: dict[tuple[str, ...], list[float]] = {}

    def __call__(self, metric: Metric, value: float = 1.0, /, **labels: str) -> None:
        assert labels.keys() == set(metric.labels), metric.name
        key = (metric.name.removeprefix("faceswap_"), *(labels[name] for name in metric.labels))
        if metric.kind == "counter":
            self.counted[key] += int(value)
        elif metric.kind in ("gauge", "info"):
            self.last[key] = value
        else:
            self.every.setdefault(key, []).append(value)
