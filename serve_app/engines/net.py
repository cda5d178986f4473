"""A model file that is open, tested, and runs items in batches: what the engines of the insightface family have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from serve_app.engines.batches import Inputs, Split, by_first_axis, check_buckets, finite, run_items, settle
from serve_app.engines.choice import Judge, Precision, open_session
from serve_app.engines.onnxfile import reshaped
from serve_app.engines.session import CPU, Array, OpenVinoSession, first_line


class Runs(TypedDict, total=False):
    """How a model is run; the defaults are those of `Net`.

    precision: see choice.py. threads: of one run; slots: runs at a time. buckets: batch sizes to try, ascending from 1; those
    that do not give each item what it gets alone are dropped, and on a CPU (`measure`) those that are not faster an item.
    provider: of ONNX Runtime; on anything but the CPU there is nothing to choose.
    """

    precision: Precision
    threads: int
    slots: int
    buckets: tuple[int, ...]
    measure: bool
    provider: str


class Net:
    """The model in `path`.

    probes: inputs of a few items that differ, to test and measure with. judge: of runtimes and precisions. side: of the square
    pictures, where the file leaves it open; ONNX Runtime is then told every shape in advance (session.FixedSession). any_size: pictures of
    others too, where the session can; the attribute says whether it does.
    split: the outputs of a batch -> those of each item. careful: in bf16 it may begin with differences, see choice.py.
    Raises ValueError for buckets that do not ascend from 1, RuntimeError, naming the file, when it cannot be run.
    """

    def __init__(
        self,
        path: Path,
        probes: Sequence[Inputs],
        judge: Judge,
        *,
        side: int | None = None,
        any_size: bool = False,
        split: Split = by_first_axis,
        careful: bool = False,
        precision: Precision = "fast",
        threads: int = 2,
        slots: int = 1,
        buckets: tuple[int, ...] = (1,),
        measure: bool = True,
        provider: str = CPU,
    ) -> None:
        check_buckets(buckets)
        self.slots = slots
        self._name, self._probes, self._split = path.name, probes, split

        def model(batch: int | None) -> Path | bytes:
            as_it_is = side is None and buckets == (1,)
            return path if as_it_is else reshaped(path, batch=batch, side=side)

        try:
            self._session = open_session(
                path,
                {name: value.shape for name, value in probes[0].items()},
                precision=precision,
                threads=threads,
                slots=slots,
                allow_bf16=True,
                provider=provider,
                model=model,
                fixed=side is not None,
                any_size=any_size,
                careful=careful,
                probes=[{name: value[None] for name, value in probe.items()} for probe in probes],
                judge=judge,
            )
            self.buckets = settle(self._session, probes, buckets, split, measure=measure and provider == CPU)
        except Exception as error:  # what runtimes raise has no common type
            raise RuntimeError(f"{path.name} cannot be run here: {first_line(error)}") from error
        self.any_size = isinstance(self._session, OpenVinoSession) and self._session.any_size
        self.info: dict[str, str] = {**self._session.info, "slots": str(slots)}

    def warm_up(self, check: Callable[[Sequence[Array]], None]) -> None:
        """Run every batch size once. check: raises for an item's outputs that are not what they should be; that, or anything
        else that goes wrong, comes out as RuntimeError."""
        try:
            for bucket in self.buckets:
                for outputs in run_items(self._session, [self._probes[0]] * bucket, (bucket,), self._split):
                    check(outputs)
        except Exception as error:
            raise RuntimeError(f"{self._name} does not work on this machine: {first_line(error)}") from error

    def run(self, items: Sequence[Inputs]) -> list[list[Array]]:
        """The outputs of each item, in order. What is not finite in company runs again by itself: a poisoned item fails alone."""
        results = run_items(self._session, items, self.buckets, self._split)
        if len(items) > 1:
            for i, outputs in enumerate(results):
                if not finite(outputs):
                    (results[i],) = run_items(self._session, [items[i]], self.buckets, self._split)
        return results
