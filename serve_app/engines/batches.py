"""Items of any number through a session that takes a few batch sizes, and which sizes are right and worth having."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from serve_app.engines.choice import difference
from serve_app.engines.session import CPU, Array, PerBatch, Session, first_line

logger = logging.getLogger(__name__)

# A session's inputs of one item, by name, without the batch's dimension.
Inputs: TypeAlias = Mapping[str, Array]
# The outputs of a batch of n -> those of each item.
Split: TypeAlias = Callable[[Sequence[Array], int], list[list[Array]]]

# Largest difference (as choice.difference has it) between an item alone and in company. Measured: none at all, f32 and bf16.
# ONNX Runtime on a CPU is held to that, since its results are to be the library's.
AGREE = {"f32": 1e-3, "tf32": 1e-2, "bf16": 2e-2}
# A larger batch must be this much faster an item to be worth its memory and the waiting; less is noise (docs/decisions/0051).
GAIN = 1.02
ROUNDS = 5
PATIENCE = 6.0  # seconds, after which two rounds are enough


def check_buckets(buckets: Sequence[int]) -> None:
    if not buckets or buckets[0] != 1 or list(buckets) != sorted(set(buckets)):
        raise ValueError(f"batch sizes must ascend from 1, not {tuple(buckets)}")


def by_first_axis(outputs: Sequence[Array], count: int) -> list[list[Array]]:
    return [[output[i] for output in outputs] for i in range(count)]


def finite(outputs: Sequence[Array]) -> bool:
    return all(np.isfinite(output).all() for output in outputs)


def run_items(session: Session, items: Sequence[Inputs], buckets: Sequence[int], split: Split = by_first_axis) -> list[list[Array]]:
    """The session's outputs of each item, in order.

    Items run in batches of the largest bucket; a rest is padded with its last item to the next bucket.
    """
    results: list[list[Array]] = []
    for start in range(0, len(items), buckets[-1]):
        part = items[start : start + buckets[-1]]
        bucket = next(size for size in buckets if size >= len(part))
        padded = [*part, *[part[-1]] * (bucket - len(part))]
        stacked = {name: padded[0][name][None] if bucket == 1 else np.stack([item[name] for item in padded]) for name in padded[0]}
        results += split(session.run(stacked), bucket)[: len(part)]
    return results


def usable_buckets(session: Session, probes: Sequence[Inputs], buckets: Sequence[int], split: Split = by_first_axis) -> tuple[int, ...]:
    """The sizes, ascending, in which this session gives each item what it gives it alone; (1,) when that is none.

    probes: a few items that differ. A graph whose batch was fixed by its exporter may run in batches and mix them up.
    """
    most = 0.0 if session.info.get("provider") == CPU else AGREE[session.info["precision"]]
    alone = [run_items(session, [probe], buckets, split)[0] for probe in probes] if buckets[-1] > 1 else []
    for bucket in buckets:
        if bucket == 1:
            continue
        batch = [i % len(probes) for i in range(bucket)]
        try:
            if isinstance(session, PerBatch):
                session.compile(bucket)
            together = run_items(session, [probes[i] for i in batch], (bucket,), split)
            worst = max(difference(outputs, alone[i]) for i, outputs in zip(batch, together, strict=True))
        except Exception as error:  # what a runtime raises for a shape that the graph cannot take has no common type
            logger.warning("a batch of %d does not run (%s): one at a time instead", bucket, first_line(error))
            return (1,)
        if not worst <= most:
            logger.warning("a batch of %d differs from single runs by %.2g: one at a time instead", bucket, worst)
            return (1,)
    return tuple(buckets)


def settle(
    session: Session, probes: Sequence[Inputs], buckets: Sequence[int], split: Split = by_first_axis, *, measure: bool = True
) -> tuple[int, ...]:
    """`usable_buckets`, and on a CPU (`measure`) of those the worthwhile; the others' memory is given back.

    session: open for single items; it is made to take the other sizes here.

    What was measured goes into the session's info.
    """
    kept = usable_buckets(session, probes, buckets, split)
    if measure and len(kept) > 1:
        seconds = _seconds(session, probes, kept, split)
        kept = worthwhile(seconds)
        session.info["buckets measured"] = ", ".join(f"{n}: {s * 1e3 / n:.1f} ms an item" for n, s in seconds.items())
    if isinstance(session, PerBatch):
        for bucket in set(buckets) - set(kept):
            session.forget(bucket)
    session.info["buckets"] = ", ".join(map(str, kept))
    return kept


def worthwhile(seconds: Mapping[int, float]) -> tuple[int, ...]:
    """Which batch sizes to keep, by the seconds that a batch of each takes.

    One goes when it is not GAIN times faster an item than the best smaller one, or when a larger one takes no longer (one
    crop is then cheaper padded).
    """
    kept: list[int] = []
    for bucket in sorted(seconds):
        if all(seconds[bucket] / bucket * GAIN <= seconds[smaller] / smaller for smaller in kept):
            kept.append(bucket)
    return tuple(bucket for bucket in kept if all(seconds[bucket] < seconds[larger] for larger in kept if larger > bucket))


def _seconds(session: Session, probes: Sequence[Inputs], buckets: Sequence[int], split: Split) -> dict[int, float]:
    """Of a batch of each size, the best of several rounds that take turns, so that a busy moment hits all alike."""
    best, started = dict.fromkeys(buckets, float("inf")), time.perf_counter()
    for finished in range(ROUNDS):
        if finished >= 2 and time.perf_counter() - started > PATIENCE:
            break
        for bucket in buckets:
            batch = [probes[i % len(probes)] for i in range(bucket)]
            start = time.perf_counter()
            run_items(session, batch, (bucket,), split)
            best[bucket] = min(best[bucket], time.perf_counter() - start)
    return best
