"""The first directory of a TIFF: what the picture is, and whether its strips or tiles lie inside the file.

Compressions and colour models are those of an allow-list: the rest of what libtiff knows is never reached.
Source: TIFF revision 6.0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from serve_app.vision.container import MAX_INKS_ICC, Container, ContainerError, short

_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946})  # none, LZW, Deflate (two numbers), PackBits
_MODELS = frozenset({0, 1, 2, 3, 5})  # grey (two ways), RGB, palette, inks
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}  # bytes of a BYTE, ASCII, SHORT, LONG, UNDEFINED
_REAL = 3
_MAX_ENTRIES = 4096


class _Directory:
    """Tags to (type, count, where the values stand); the values are read when they are asked for."""

    def __init__(self, data: bytes, order: Literal["little", "big"], at: int) -> None:
        self.data, self.order = data, order
        count = self.number(at, 2)
        if count > _MAX_ENTRIES:
            raise ContainerError("its directory is damaged")
        self.tags: dict[int, tuple[int, int, int]] = {}
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            kind, values = self.number(entry + 2, 2), self.number(entry + 4, 4)
            size = _SIZES.get(kind, 0) * values
            self.tags.setdefault(self.number(entry, 2), (kind, values, entry + 8 if size <= 4 else self.number(entry + 8, 4)))
        self.next = self.number(at + 2 + 12 * count, 4)

    def number(self, at: int, size: int) -> int:
        if at + size > len(self.data):
            raise short()
        return int.from_bytes(self.data[at : at + size], self.order)

    def values(self, tag: int) -> list[int]:
        """Of SHORTs or LONGs; [] where there is no such tag."""
        return [int(value) for value in self.array(tag)]

    def array(self, tag: int) -> np.ndarray:
        kind, count, at = self.tags.get(tag, (3, 0, 0))
        if kind not in (3, 4):
            raise ContainerError("its directory is damaged")
        if at + count * _SIZES[kind] > len(self.data):
            raise short()
        return np.frombuffer(self.data, f"{'<' if self.order == 'little' else '>'}u{_SIZES[kind]}", count, at).astype(np.int64)

    def one(self, tag: int, default: int) -> int:
        found = self.array(tag)[:1]
        return int(found[0]) if len(found) else default

    def block(self, tag: int, most: int) -> bytes:
        kind, count, at = self.tags.get(tag, (7, 0, 0))
        return self.data[at : at + count] if _SIZES.get(kind) == 1 and count <= most else b""


def walk_tiff(data: bytes) -> Container:
    """Raises ContainerError."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    if len(data) < 8:
        raise short()
    page = _Directory(data, order, int.from_bytes(data[4:8], order))
    width, height = page.one(256, 0), page.one(257, 0)
    if not width or not height:
        raise ContainerError("it states no size")
    if page.one(254, 0) & 1:
        raise ContainerError("it begins with a preview, as raw files of cameras do", foreign=True)
    depths, kinds = set(page.array(258)[:16].tolist()) or {1}, set(page.array(339)[:16].tolist()) or {1}
    compression, model = page.one(259, 1), page.one(262, 1)
    if compression not in _COMPRESSIONS:
        raise ContainerError(f"its compression (number {compression}) is not taken", foreign=True)
    real = kinds == {_REAL}
    if model not in _MODELS or len(depths) != 1 or not depths <= ({32} if real else {1, 2, 4, 8, 16}) or not (real or kinds == {1}):
        raise ContainerError("its kind of pixels is not taken", foreign=True)
    bits, channels = depths.pop(), page.one(277, 1)
    if not 1 <= channels <= 5 or (bits > 8 and channels not in (1, 3, 4)) or (model == 5 and (bits != 8 or channels != 4)):
        raise ContainerError("its kind of pixels is not taken", foreign=True)
    if bits > 8 and model not in (1, 2):
        raise ContainerError("its kind of pixels is not taken", foreign=True)
    _check_parts(page, width, height, bits * channels, compression, len(data))
    turn = page.tags.get(274)
    orientation = page.one(274, 1) if turn is not None and turn[0] == 3 else 1
    return Container(
        "TIFF",
        width,
        height,
        lossless=True,
        icc=page.block(34675, MAX_INKS_ICC),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        orientation_at=turn[2] if turn is not None and turn[0] == 3 else None,
        more=_is_page(data, order, page.next),
        bits=bits,
        inks=model == 5,
        real=real,
    )


def _check_parts(page: _Directory, width: int, height: int, bits: int, compression: int, length: int) -> None:
    """Strips or tiles: each inside the file, and as many as the size takes."""
    tiled = 322 in page.tags
    starts, sizes = (page.array(324), page.array(325)) if tiled else (page.array(273), page.array(279))
    planes = page.one(277, 1) if page.one(284, 1) == 2 else 1
    bits = bits // planes
    if tiled:
        wide, high = page.one(322, 0), page.one(323, 0)
        if not 16 <= wide <= max(width, 16) * 4 or not 16 <= high <= max(height, 16) * 4 or wide * high > 2**24:
            raise ContainerError("its tiles are damaged")
        count = -(-width // wide) * -(-height // high)
    else:
        wide, high = width, min(page.one(278, height) or height, height)
        count = -(-height // high)
    if len(starts) != len(sizes) or len(starts) != count * planes:
        raise ContainerError("it does not hold as many parts as its size takes")
    if len(starts) and int((starts + sizes).max()) > length:
        raise short()
    if compression == 1:
        last = height - high * (count - 1) if not tiled else high
        whole = np.full(count, (wide * bits + 7) // 8 * high)
        whole[-1] = (wide * bits + 7) // 8 * last
        if (sizes < np.tile(whole, planes)).any():
            raise short()


def _is_page(data: bytes, order: Literal["little", "big"], at: int) -> bool:
    """Is the directory at `at` another page, rather than a preview or a mask of the first?"""
    if not at:
        return False
    try:
        return not _Directory(data, order, at).one(254, 0) & 5
    except ContainerError:
        return False
