"""Is this a picture that we take? Answered from the header and the end marker, before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from serve_app.vision.container import Container, ContainerError, Format, sniff, walk

Reason: TypeAlias = Literal["format", "truncated", "damaged", "pixels", "side", "aspect"]

_KNOWN = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
)
_BRANDS = {b"heic": "a HEIC", b"heix": "a HEIC", b"mif1": "a HEIC", b"avif": "an AVIF", b"avis": "an AVIF"}


class ImageError(ValueError):
    """Bytes that are not a picture we can use. str() is a sentence for people, without saying which picture it is about."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[Reason, str]]:
        return type(self), (self.reason, str(self))  # crosses processes


@dataclass(frozen=True, slots=True)
class Header:
    """width and height: pixels as seen, after the orientation. orientation: EXIF value 1..8."""

    format: Format
    width: int
    height: int
    orientation: int


def probe(data: bytes, *, max_pixels: int = 40_000_000, min_side: int = 16, max_aspect: float = 64.0) -> Header:
    """Check format, wholeness and size of a picture file. Raises ImageError."""
    container = read_container(data)
    orientation = orientation_of(container.exif)
    width, height = container.width, container.height
    if width * height > max_pixels:
        raise ImageError("pixels", f"The picture has {width} x {height} pixels, more than {max_pixels:,} in all. Send a smaller one.")
    if min(width, height) < min_side:
        raise ImageError("side", f"The picture has {width} x {height} pixels; each side must have at least {min_side}. Send a larger one.")
    if max(width, height) > max_aspect * min(width, height):
        raise ImageError("aspect", f"The picture has {width} x {height} pixels, which is too long and thin. Crop it around the face.")
    if orientation >= 5:
        width, height = height, width
    return Header(container.format, width, height, orientation)


def read_container(data: bytes) -> Container:
    """The file's structure, whatever its size. Raises ImageError when it is no JPEG, PNG or WebP, or not whole."""
    format = sniff(data)
    if format is None:
        raise ImageError("format", f"This is not a JPEG, PNG or WebP picture{_guess(data)}. Send one of these formats.")
    try:
        return walk(data, format)
    except ContainerError as error:
        reason: Reason = "truncated" if error.truncated else "damaged"
        raise ImageError(reason, f"The {format} file is {reason}: {error}. Send the whole file.") from None


def orientation_of(exif: bytes) -> int:
    """The orientation (tag 0x0112 of the first directory) in an EXIF TIFF block; 1 where there is none or it makes no sense."""
    order: Literal["little", "big"] | None = {b"II*\x00": "little", b"MM\x00*": "big"}.get(exif[:4])  # type: ignore[assignment]
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)

    start = number(4, 4)
    for at in range(start + 2, min(start + 2 + 12 * number(start, 2), len(exif) - 11), 12):
        if number(at, 2) == 0x0112 and number(at + 2, 2) == 3:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1


def _guess(data: bytes) -> str:
    """What the bytes look like instead, as " (it looks like ...)", or "" when we cannot tell."""
    if not data:
        return " (it is empty)"
    for start, name in _KNOWN:
        if data.startswith(start):
            return f" (it looks like {name} file)"
    if data[4:8] == b"ftyp" and data[8:12] in _BRANDS:
        return f" (it looks like {_BRANDS[data[8:12]]} file)"
    text = data[:256].lstrip().lower()
    if text.startswith((b"<svg", b"<?xml")):
        return " (it looks like an SVG or XML file)"
    if text.startswith((b"<!doctype", b"<html")):
        return " (it looks like an HTML page)"
    return ""
