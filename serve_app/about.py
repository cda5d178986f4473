"""What the present log lines are about: fields that stand in each of them, from whatever module they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_fields: ContextVar[Mapping[str, str]] = ContextVar("faceswap_about", default=MappingProxyType({}))


@contextmanager
def about(*, task: str | None = None, key: str | None = None, stage: str | None = None) -> Iterator[None]:
    """Log lines of the block, and of what it starts, have these fields. task: its id. key: id of the key that it came with."""
    given = {"task": task, "key": key, "stage": stage}
    token = _fields.set({**_fields.get(), **{name: value for name, value in given.items() if value}})
    try:
        yield
    finally:
        _fields.reset(token)


def fields() -> Mapping[str, str]:
    return _fields.get()
