"""Why a swap cannot be made, and of which picture that is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from serve_app.vision.face import FaceError

T = TypeVar("T")

SOURCE = "人脸图片 (source picture)"
TARGET = "目标图片 (target picture)"
REFERENCE = "参考图片 (reference picture)"
FAILED = "换脸失败 (swap)"


class SwapError(Exception):
    """The swap cannot be made; the message tells the user which picture is at fault and why."""


def usable(name: str, outcome: T | FaceError) -> T:
    with named(name):
        return raised(outcome)


def raised(outcome: T | FaceError) -> T:
    if isinstance(outcome, FaceError):
        raise outcome
    return outcome


@contextmanager
def named(name: str) -> Iterator[None]:
    """A FaceError becomes a SwapError that says which picture it is about."""
    try:
        yield
    except FaceError as error:
        raise SwapError(f"{name}: {error}") from error
