"""The header of a BMP. Its pixels are stored plainly or not taken: run lengths would be decoded slowly, and nobody sends them.

Source: the Windows documentation of BITMAPFILEHEADER, BITMAPCOREHEADER and BITMAPV5HEADER.
"""

from __future__ import annotations

from serve_app.vision.container import Container, ContainerError, short

_PLAIN = frozenset({0, 3, 6})  # BI_RGB, BI_BITFIELDS, BI_ALPHABITFIELDS
_DEPTHS = frozenset({1, 4, 8, 16, 24, 32})
SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})  # of the headers that there are


def walk_bmp(data: bytes) -> Container:
    """Raises ContainerError."""
    if len(data) < 54:
        raise short()

    def number(at: int, size: int = 4, *, signed: bool = False) -> int:
        return int.from_bytes(data[at : at + size], "little", signed=signed)

    start, kind = number(10), 0
    if number(14) == 12:
        width, height, bits = number(18, 2), number(20, 2), number(24, 2)
    else:
        width, height, bits, kind = number(18, signed=True), abs(number(22, signed=True)), number(28, 2), number(30)
    if width <= 0 or height == 0 or bits not in _DEPTHS or start < 14 + number(14):
        raise ContainerError("its header is damaged")
    if kind not in _PLAIN:
        raise ContainerError("its pixels are compressed", foreign=True)
    if start + (width * bits + 31) // 32 * 4 * height > len(data):
        raise short()
    return Container("BMP", width, height, lossless=True)
