"""Takes what is measured to Ray, which every node exports for Prometheus."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import ray
from ray.serve import metrics

from serve_app.metrics import Metric, Recorder, unrecorded

logger = logging.getLogger(__name__)

AGAIN_S = 1.0

Tell: TypeAlias = Callable[[Metric, float, Mapping[str, str]], None]


class RayRecorder:
    """One per process. Ray adds the deployment, the replica and the application to the labels.

    Ray hands on a gauge that was set, and forgets it within two of its reports. That is what a gauge of the queue needs, which nobody
    may know any more; what a process is stays true as long as it lives, so infos are set again and again.
    """

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._infos: list[tuple[Metric, Mapping[str, str]]] = []

    def __call__(self, metric: Metric, value: float = 1.0, /, **labels: str) -> None:
        self._try(self._keep if metric.kind == "info" else self._tell, metric, value, labels)

    def _try(self, tell: Tell, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        try:
            tell(metric, value, labels)
        except Exception:  # whoever is measured goes on
            logger.exception("%s cannot be recorded", metric.name)

    def _tell(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        made = self._made.get(metric.name)
        if made is None:
            made = self._made[metric.name] = _make(metric)
        if metric.kind == "histogram":
            made.observe(value, labels)
        elif metric.kind != "counter":
            made.set(value, labels)
        elif value > 0:  # Ray's counters refuse 0
            made.inc(value, labels)

    def _keep(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Of an info, whose value is always 1."""
        self._tell(metric, value, labels)
        self._infos.append((metric, labels))
        if len(self._infos) == 1:
            threading.Thread(target=self._again, name="infos", daemon=True).start()

    def _again(self) -> None:
        while True:
            time.sleep(AGAIN_S)
            for metric, labels in self._infos:
                self._try(self._tell, metric, 1, labels)


def recorder() -> Recorder:
    """Call it in a replica's constructor. Outside of a cluster nothing is recorded."""
    return RayRecorder() if ray.is_initialized() else unrecorded


def _make(metric: Metric) -> Any:
    labels: Any = metric.labels  # Ray's annotation says that there is exactly one
    if metric.kind == "histogram":
        return metrics.Histogram(metric.name, metric.help, list(metric.bounds), labels)
    kind = metrics.Counter if metric.kind == "counter" else metrics.Gauge
    return kind(metric.name, metric.help, labels)
