"""The walk of a GIF: its blocks, from the logical screen to the trailer. Source: the GIF 89a specification."""

from __future__ import annotations

from serve_app.vision.container import MAX_PARTS, Container, ContainerError, short, too_many

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


def walk_gif(data: bytes) -> Container:
    """Raises ContainerError. The size is that of the canvas that the first frame is drawn on."""
    if len(data) < 13:
        raise short()
    width, height = _number(data, 6), _number(data, 8)
    at, frames, parts = 13 + _table(data[10]), 0, 0
    while True:
        if at >= len(data):
            raise short()
        parts += 1
        kind = data[at]
        if kind == _TRAILER:
            break
        if kind == _EXTENSION:
            at += 2
        elif kind == _IMAGE:
            if at + 10 > len(data):
                raise short()
            left, top, wide, high = (_number(data, at + n) for n in (1, 3, 5, 7))
            if not wide or not high:
                raise ContainerError("a frame has no pixels")
            frames += 1
            if frames == 1:
                width, height = max(width, left + wide), max(height, top + high)
            at += 11 + _table(data[at + 9])
        else:
            raise ContainerError("a block is damaged")
        while True:  # the sub-blocks, up to an empty one
            if at >= len(data):
                raise short()
            parts += 1
            if parts > MAX_PARTS:
                raise too_many()
            size = data[at]
            at += 1 + size
            if not size:
                break
    if not frames:
        raise ContainerError("it holds no picture data")
    return Container("GIF", width, height, lossless=True, more=frames > 1)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _table(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
