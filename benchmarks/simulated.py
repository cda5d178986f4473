"""The real service on simulated accelerators: everything runs, but what a GPU would do is a device that sleeps and takes no core."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.service import Service, serving

LOCAL = Path(__file__).resolve().parent.parent / "config" / "local.yaml"
LARGEST = 8
PATIENCE_S = 10.0  # longer than any batch takes


@dataclass(frozen=True, slots=True)
class Cost:
    """A batch of n takes a device seconds + n * seconds_per_item."""

    seconds: float
    seconds_per_item: float

    def of(self, batch: int) -> float:
        return self.seconds + batch * self.seconds_per_item

    def rate(self, batch: int = LARGEST) -> float:
        """Items a second that a device makes in such batches."""
        return batch / self.of(batch)

    def stretched_to(self, rate: float) -> Cost:
        """The same proportions, so that a device makes so many items a second in its largest batches."""
        factor = self.rate() / rate
        return Cost(self.seconds * factor, self.seconds_per_item * factor)


# The one published pair of a face model on a GPU, alone and in a large batch: w600k_r50 on an RTX 2080 Super with TensorRT in fp16 takes
# 1.9 ms for one and 33.2 ms for 64 (README of SthPhoenix/InsightFace-REST). Hence t(n) = 1.403 + 0.4968 n ms.
PUBLISHED = Cost((64 * 1.9 - 33.2) / 63 / 1e3, (33.2 - 1.9) / 63 / 1e3)
# As slow as that two cores carry eight of them: a device makes 1.5 swaps a second.
SLOW = PUBLISHED.stretched_to(1.5)


@dataclass(frozen=True, slots=True)
class Batch:
    """One run of a device, in seconds since the epoch."""

    device: str
    begin: float
    end: float
    items: int

    def within(self, begin: float, end: float) -> float:
        """Seconds of it between these two times."""
        return max(0.0, min(self.end, end) - max(self.begin, begin))


@dataclass(frozen=True, slots=True)
class Use:
    """What devices did between two times. busy: mean share of that time. rate: items a second; a batch that lies partly within counts in
    part. batches: runs that ended within, by size.
    """

    busy: float
    rate: float
    mean_batch: float
    batches: dict[int, int]


@dataclass(frozen=True, slots=True)
class Simulated:
    service: Service
    journal: Path

    @property
    def base(self) -> str:
        return self.service.base

    def batches(self) -> list[Batch]:
        """Of all devices there ever were; those without items are warm-ups."""
        files = sorted(self.journal.iterdir()) if self.journal.exists() else []
        rows = [(file.name, *line.split()) for file in files for line in file.read_text().splitlines()]
        return [Batch(device, float(begin), float(end), int(items)) for device, begin, end, items in rows]

    def batches_until(self, end: float) -> list[Batch]:
        """Those that ran until then, and beyond: devices write them down when they end."""
        until = time.monotonic() + PATIENCE_S
        while True:
            found = self.batches()
            if {batch.device for batch in found} == {batch.device for batch in found if batch.end >= end} or time.monotonic() > until:
                return found
            time.sleep(0.1)

    def alive(self) -> list[str]:
        """Devices whose replica is ready and has not ended."""
        return [file.name for file in sorted(self.journal.iterdir()) if _runs(int(file.name))] if self.journal.exists() else []


def use(batches: Sequence[Batch], begin: float, end: float, devices: int) -> Use:
    """Raises ZeroDivisionError where nothing ended in that time."""
    within = [(batch, batch.within(begin, end)) for batch in batches if batch.items]
    items = sum(batch.items * seconds / (batch.end - batch.begin) for batch, seconds in within)
    sizes = [batch.items for batch, _ in within if begin <= batch.end < end]
    counted = {size: sizes.count(size) for size in sorted(set(sizes))}
    busy = sum(seconds for _, seconds in within) / (devices * (end - begin))
    return Use(busy, items / (end - begin), sum(sizes) / len(sizes), counted)


@contextlib.contextmanager
def simulated(
    cost: Cost,
    *,
    devices: int = 1,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    deployments: Mapping[str, Mapping[str, Any]] | None = None,
    fake: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Simulated]:
    """config/local.yaml with so many replicas of FaceSwapper, a device each, and places for two batches of each on their way.

    settings, deployments: more of them, by group and by deployment. fake: more of that group.
    """
    places = 2 * LARGEST * devices
    wanted: dict[str, Mapping[str, Any]] = {
        "pipeline": {"in_flight": places},
        "ingress": {"max_dispatched": 2 * places},
        "fake": {"seconds": cost.seconds, "seconds_per_item": cost.seconds_per_item, "costly": ["swap"], **(fake or {})},
    }
    calls = 4 * places  # well above what is ever asked: past it Serve's router sleeps between its tries
    limits: dict[str, Mapping[str, Any]] = {
        "SwapPipeline": {"max_ongoing_requests": calls},
        "FaceDetector": {"max_ongoing_requests": calls},
        "FaceSwapper": {"max_ongoing_requests": max(64, 4 * LARGEST), "num_replicas": devices, "ray_actor_options": {"num_cpus": 0.05}},
    }
    with tempfile.TemporaryDirectory(prefix="faceswap-simulated-") as folder:
        journal = Path(folder) / "journal"
        config = yaml.safe_load(LOCAL.read_text())
        (application,) = config["applications"]
        args = application["args"] | {"family": "fake"}
        for group, values in [*wanted.items(), ("fake", {"journal": str(journal)}), *(settings or {}).items()]:
            args[group] = {**args.get(group, {}), **values}
        application["args"] = args
        for deployment in application["deployments"]:
            for given in (limits, deployments or {}):
                deployment.update(given.get(deployment["name"], {}))
            if "autoscaling_config" in deployment:
                del deployment["num_replicas"]
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(config))
        with serving("--config", str(file), environment={"FACESWAP_SECRET": "", **(environment or {})}) as service:
            yield Simulated(service, journal)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
