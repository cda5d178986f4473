"""ICC profiles made for tests: inks of a simple model, a wide gamut, and grey. Source: ICC.1."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve_app.vision.face import Pixels

GRID = 15
# What each ink lets through of linear red, green and blue.
INKS = np.array([[0.03, 0.45, 0.75], [0.65, 0.05, 0.25], [0.92, 0.8, 0.06], [0.02, 0.02, 0.02]])
WHITE = np.array([0.9642, 1.0, 0.8249])
# Linear sRGB and Display P3 to XYZ under D50.
SRGB = np.array([[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]])
P3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])


def through_inks(cmyk: NDArray[np.uint8]) -> Pixels:
    """(..., 4) to sRGB, by the formula that `inks()` is sampled from."""
    linear = _linear(cmyk / 255)
    rgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(rgb * 255), np.uint8)


def _linear(cmyk: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.prod(1 - cmyk[..., None] * (1 - INKS), axis=-2))


def inked(cmyk: NDArray[np.uint8], kind: str, icc: bytes | None) -> bytes:
    """A picture of inks (H, W, 4): `cmyk` and `ycck` are JPEG as Adobe writes it, inverted; `tiff`."""
    out = io.BytesIO()
    if kind == "tiff":
        Image.fromarray(cmyk, "CMYK").save(out, "TIFF", icc_profile=icc)
        return out.getvalue()
    if kind == "cmyk":
        Image.fromarray(cmyk, "CMYK").save(out, "JPEG", quality=100, subsampling=0, icc_profile=icc)
        return out.getvalue()
    y, red, blue = np.moveaxis(cv2.cvtColor(np.ascontiguousarray(cmyk[..., :3]), cv2.COLOR_RGB2YCrCb), -1, 0)
    stored = 255 - np.dstack([y, blue, red, 255 - cmyk[..., 3]])  # Pillow inverts what it writes
    Image.fromarray(stored, "CMYK").save(out, "JPEG", quality=100, subsampling=0, icc_profile=icc)
    data = bytearray(out.getvalue())
    data[data.index(b"Adobe") + 11] = 2  # that the first three are Y, Cb and Cr
    return bytes(data)


def inks() -> bytes:
    """CMYK to Lab by a table."""
    levels = np.linspace(0, 1, GRID)
    mesh = np.stack(np.meshgrid(levels, levels, levels, levels, indexing="ij"), axis=-1)
    scaled = _linear(mesh) @ SRGB.T / WHITE
    f = np.where(scaled > 216 / 24389, np.cbrt(scaled), (24389 / 27 * scaled + 16) / 116)
    lab = np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
    stored = np.rint(np.clip((lab + np.array([0, 128, 128])) * [652.8, 256, 256], 0, 65535)).astype(">u2")
    ends = struct.pack(">HH", 0, 65535)
    matrix = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    table = b"mft2" + bytes(4) + bytes([4, 3, GRID, 0]) + matrix + struct.pack(">HH", 2, 2) + ends * 4 + stored.tobytes() + ends * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", [(b"A2B0", table)])


def wide() -> bytes:
    """Display P3's colours with a plain gamma of 2.2."""
    tags = [(name, _xyz(column)) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), P3.T, strict=True)]
    return _profile(b"mntr", b"RGB ", b"XYZ ", [*tags, *((name, _gamma(2.2)) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def grey(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", [(b"kTRC", _gamma(gamma))])


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *np.rint(values * 65536).astype(int))


def _gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IHH", 1, round(value * 256), 0)


def _profile(kind: bytes, space: bytes, pcs: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    tags = [(b"wtpt", _xyz(WHITE)), *tags]
    at, table, bodies = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, body in tags:
        body += bytes(-len(body) % 4)
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += body
    illuminant = struct.pack(">3i", *np.rint(WHITE * 65536).astype(int))
    head = bytes(8) + b"\x02\x40\x00\x00" + kind + space + pcs + bytes(12) + b"acsp" + bytes(28) + illuminant + bytes(48)
    assert len(head) == 128
    return struct.pack(">I", at + len(bodies)) + head[4:] + table + bodies
