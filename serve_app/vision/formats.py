"""The formats that are taken: told by their first bytes, each with its walk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from serve_app.vision.bitmap import SIZES, walk_bmp
from serve_app.vision.container import Container, Format, walk_jpeg, walk_png, walk_webp
from serve_app.vision.gif import walk_gif
from serve_app.vision.heif import brand, walk_heif
from serve_app.vision.tiff import walk_tiff

_WALKS: dict[Format, Callable[[bytes], Container]] = {
    "JPEG": walk_jpeg,
    "PNG": walk_png,
    "WEBP": walk_webp,
    "AVIF": partial(walk_heif, format="AVIF"),
    "HEIC": partial(walk_heif, format="HEIC"),
    "TIFF": walk_tiff,
    "GIF": walk_gif,
    "BMP": walk_bmp,
}


def sniff(data: bytes) -> Format | None:
    """The format by the first bytes, or None for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith((b"II*\x00", b"MM\x00*")):
        return "TIFF"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in SIZES:
        return "BMP"
    return brand(data)


def walk(data: bytes, format: Format) -> Container:
    """Read the file's structure to its end; bytes after it are tolerated. Raises ContainerError."""
    return _WALKS[format](data)
