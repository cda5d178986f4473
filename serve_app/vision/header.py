"""Is this a picture that we take? Answered from the header and the end marker, before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from serve_app.vision.container import Container, ContainerError, Format
from serve_app.vision.formats import sniff, walk

Reason: TypeAlias = Literal["format", "truncated", "damaged", "pixels", "side", "aspect", "animation"]

Animations: TypeAlias = Literal["first", "refuse"]

FORMATS = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF or BMP"
NAMES: dict[Format, str] = {"WEBP": "WebP"}
_KNOWN = (
    (b"%PDF", "a PDF"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"8BPS", "a Photoshop file"),
    (b"II+\x00", "a BigTIFF"),
    (b"MM\x00+", "a BigTIFF"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"qoif", "a QOI picture"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x1aE\xdf\xa3", "a video (WebM or Matroska)"),
    (b"ID3", "an MP3"),
    (b"OggS", "an Ogg file"),
    (b"RIFF", "a sound or video (RIFF)"),
)


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


def probe(
    data: bytes, *, max_pixels: int = 40_000_000, min_side: int = 16, max_aspect: float = 64.0, animations: Animations = "first"
) -> Header:
    """Check format, wholeness and size of a picture file. animations: what is done with further frames or pages. Raises ImageError."""
    container = read_container(data)
    orientation = upright_by(container)
    width, height = container.width, container.height
    if width * height > max_pixels:
        raise ImageError("pixels", f"The picture has {width} x {height} pixels, more than {max_pixels:,} in all. Send a smaller one.")
    if min(width, height) < min_side:
        raise ImageError("side", f"The picture has {width} x {height} pixels; each side must have at least {min_side}. Send a larger one.")
    if max(width, height) > max_aspect * min(width, height):
        raise ImageError("aspect", f"The picture has {width} x {height} pixels, which is too long and thin. Crop it around the face.")
    if container.more and animations == "refuse":
        raise ImageError("animation", f"The {named(container.format)} file has more than one frame or page. Send a still picture.")
    if orientation >= 5:
        width, height = height, width
    return Header(container.format, width, height, orientation)


def named(format: Format) -> str:
    return NAMES.get(format, format)


def read_container(data: bytes) -> Container:
    """The file's structure, whatever its size. Raises ImageError when it is not of a format that is taken, or not whole."""
    format = sniff(data)
    if format is None:
        raise ImageError("format", f"{_guess(data)} Send a {FORMATS} picture.")
    try:
        return walk(data, format)
    except ContainerError as error:
        if error.foreign:
            raise ImageError("format", f"This kind of {named(format)} is not taken: {error}. Send a JPEG, PNG or WebP.") from None
        reason: Reason = "truncated" if error.truncated else "damaged"
        raise ImageError(reason, f"The {named(format)} file is {reason}: {error}. Send the whole file.") from None


def upright_by(container: Container) -> int:
    """The EXIF orientation 1..8 that the pixels as stored are to be turned by."""
    return orientation_of(container.exif) if container.orientation is None else container.orientation


def orientation_of(exif: bytes) -> int:
    """The orientation (tag 0x0112 of the first directory) in an EXIF TIFF block; 1 where there is none or it makes no sense."""
    orders: dict[bytes, Literal["little", "big"]] = {b"II*\x00": "little", b"MM\x00*": "big"}
    order = orders.get(exif[:4])
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
    """A sentence that says what the bytes are instead."""
    if not data:
        return "The file is empty."
    for start, name in _KNOWN:
        if data.startswith(start):
            return f"This is {name}."
    if data[4:8] == b"ftyp":
        return "This is a video (MP4 or MOV)."
    text = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in data[:4096].lower()):
        return "This is an SVG."
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "This is an HTML page."
    if text.startswith((b"<?xml", b"<")):
        return "This is an XML or HTML file."
    if text.startswith((b"{", b"[")):
        return "This looks like JSON."
    return "This is not a picture in a format that is known here."
