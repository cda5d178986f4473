"""What every engine looks like to the batcher that drives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item", contravariant=True)
Prepared = TypeVar("Prepared")
Raw = TypeVar("Raw")
Result = TypeVar("Result", covariant=True)


class Engine(Protocol[Item, Prepared, Raw, Result]):
    """A model behind three verbs. `pre` and `post` are CPU work on one item and may run in any thread,
    while `run` holds one of `slots` places on the device with a whole batch.

    buckets: the batch sizes it is warmed up for, ascending; a batch never exceeds the last and is padded by `run`.
    slots: how many batches may run at a time.
    """

    buckets: tuple[int, ...]
    slots: int

    def warm_up(self) -> None:
        """Run every bucket once. Raises RuntimeError when the engine does not do what it should."""

    def info(self) -> dict[str, str]:
        """Runtime, precision, threads, versions: what /health and the log say about it."""

    def pre(self, item: Item) -> Prepared: ...

    def run(self, batch: Sequence[Prepared]) -> Sequence[Raw]: ...

    def post(self, item: Item, raw: Raw) -> Result: ...
