"""Pictures that are refused by their headers."""

from __future__ import annotations

import tracemalloc

import pytest

from serve_app.vision.header import Animations, ImageError, probe


def refused(data: bytes, *, animations: Animations = "first") -> ImageError:
    with pytest.raises(ImageError) as caught:
        probe(data, animations=animations)
    return caught.value


def refused_at(data: bytes) -> tuple[ImageError, int]:
    """With the most bytes that were in use meanwhile."""
    tracemalloc.start()
    try:
        return refused(data), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
