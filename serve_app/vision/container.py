"""What a picture file says about itself, and the walks of JPEG, PNG and WebP, from their first byte to the end marker.

The other formats are walked in bitmap.py, gif.py, tiff.py and heif.py. No pixel is decoded and nothing is allocated for the
stated size, so a bomb costs nothing here. One walk answers four questions at once: how large, which EXIF block, which colour
profile, and is the file whole. (Pillow's header readers decode a PNG to look for EXIF and allocate two canvases for a WebP.)

Sources: ITU-T T.81 annex B (JPEG), the PNG specification (third edition) section 5, the WebP container specification.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Format: TypeAlias = Literal["JPEG", "PNG", "WEBP", "AVIF", "HEIC", "TIFF", "GIF", "BMP"]

# Progressive files have about ten scans. Each one is a pass over the whole picture, so thousands are an attack.
MAX_SCANS = 100
# Colour profiles of cameras and screens have 500 bytes to 100 kB; those of printers, which are not for RGB, up to 3 MB.
MAX_ICC = 2**20
MAX_INKS_ICC = 2**22  # those of printers count where the picture is CMYK
# Real files have thousands of parts (chunks, segments, blocks) at most; millions of tiny ones would only cost time.
MAX_PARTS = 200_000

_SOI, _EOI, _SOS, _APP1, _APP2 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# Inside a scan 0xFF is data, a restart marker or a fill byte when one of these follows; anything else ends the scan.
_IN_SCAN = np.zeros(256, np.bool_)
_IN_SCAN[[0x00, 0xFF, *range(0xD0, 0xD8)]] = True
_EXIF_ID = b"Exif\x00\x00"
_ICC_ID = b"ICC_PROFILE\x00"
_VP8X_ICC = 0x20  # readers look for a profile only where this flag is set
_PNG_START = b"\x89PNG\r\n\x1a\n"


class ContainerError(ValueError):
    """The file does not hold together, or is of a kind that is not taken (`foreign`). `truncated`: it ends too early."""

    def __init__(self, message: str, *, truncated: bool = False, foreign: bool = False) -> None:
        super().__init__(message)
        self.truncated = truncated
        self.foreign = foreign


@dataclass(frozen=True, slots=True)
class Container:
    """width, height: pixels as stored. exif: TIFF block without "Exif" prefix, or b"". lossless: every pixel was kept.

    grey_key: the grey level that a greyscale PNG declares transparent, in its own bit depth.
    icc: colour profile, unchecked and in a PNG still compressed, or b"": none, not whole, or over MAX_ICC (of inks MAX_INKS_ICC).
    orientation: 1..8 as in EXIF, by a format of its own that goes before EXIF (TIFF, AVIF, HEIC); None: EXIF says it.
    orientation_at: where in a TIFF it stands. more: there are further frames or pages. bits: of the deepest channel.
    inks: CMYK or YCCK. real: floating point. sampling: of a JPEG, how many samples of lightness there are to one of colour, across and
    down: (2, 2) is 4:2:0, (2, 1) is 4:2:2.
    """

    format: Format
    width: int
    height: int
    exif: bytes = b""
    lossless: bool = False
    grey_key: int | None = None
    icc: bytes = b""
    orientation: int | None = None
    orientation_at: int | None = None
    more: bool = False
    bits: int = 8
    inks: bool = False
    real: bool = False
    sampling: tuple[int, int] = (1, 1)


def short() -> ContainerError:
    """For a file that was cut."""
    return ContainerError("the file ends before its end marker", truncated=True)


def too_many() -> ContainerError:
    return ContainerError("it has too many parts")


def walk_jpeg(data: bytes) -> Container:
    size: tuple[int, int] | None = None
    exif, scans, bits, inks, sampling = b"", 0, 8, False, (1, 1)
    profile: list[bytes] = []
    for marker, body in _segments(data):
        if marker in _FRAMES:
            if len(body) < 6:
                raise ContainerError("its frame header is damaged")
            size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
            bits, inks, sampling = body[0], body[5] == 4, _sampling(body)
        elif marker == _APP1 and not exif and body.startswith(_EXIF_ID):
            exif = body[len(_EXIF_ID) :]
        elif marker == _APP2 and not scans and body.startswith(_ICC_ID):
            profile.append(body[len(_ICC_ID) :])
        elif marker == _SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise ContainerError(f"it has more than {MAX_SCANS} scans")
    if size is None or not scans:
        raise ContainerError("it holds no picture data")
    return Container("JPEG", *size, exif, icc=_joined(profile, MAX_INKS_ICC if inks else MAX_ICC), bits=bits, inks=inks, sampling=sampling)


def _sampling(frame: bytes) -> tuple[int, int]:
    """By a frame header with three components; (1, 1) of all others, and where the two of colour have not the fewest samples."""
    factors = frame[7::3]
    if frame[5] != 3 or len(factors) != 3 or factors[1:] != b"\x11\x11":
        return 1, 1
    return factors[0] >> 4, factors[0] & 15


def _joined(parts: list[bytes], most: int) -> bytes:
    """A JPEG's colour profile: every part begins with its number from 1 and the number of parts. b"" when these do not add up."""
    count = len(parts)
    if count > 255 or sum(map(len, parts)) > most + 2 * count:
        return b""
    parts = sorted(parts)
    if [part[:2] for part in parts] != [bytes((number, count)) for number in range(1, count + 1)]:
        return b""
    return b"".join(part[2:] for part in parts)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, body) up to the end marker of the first picture; the coded data of scans is skipped."""
    ends = _scan_ends(data)
    at, parts = 2, 0
    while True:
        parts += 1
        if parts > MAX_PARTS:
            raise too_many()
        if at + 2 > len(data):
            raise short()
        if data[at] != 0xFF:
            raise ContainerError("a segment is damaged")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _EOI:
            return
        at += 2
        if marker in _ALONE:
            continue
        if marker in (0x00, _SOI):
            raise ContainerError("a segment is damaged")
        length = int.from_bytes(data[at : at + 2], "big")
        if at + max(length, 2) > len(data):
            raise short()
        if length < 2:
            raise ContainerError("a segment is damaged")
        yield marker, data[at + 2 : at + length]
        at += length
        if marker == _SOS:
            nth = int(np.searchsorted(ends, at))
            if nth == len(ends):
                raise short()
            at = int(ends[nth])


def _scan_ends(data: bytes) -> NDArray[np.intp]:
    """Ascending positions where a scan would end. (A regular expression says the same but holds the GIL 75 ms for 11 MB; this takes 5.)"""
    values = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(values[:-1] == 0xFF)
    return marks[~_IN_SCAN[values[marks + 1]]]


def walk_png(data: bytes) -> Container:
    if len(data) < 33:
        raise short()
    if data[12:16] != b"IHDR":
        raise ContainerError("its header is damaged")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    grey = data[25] == 0
    exif, icc, key, coded, more = b"", b"", None, False, False
    view, at, parts = memoryview(data), 8, 0
    while True:
        parts += 1
        if parts > MAX_PARTS:
            raise too_many()
        if at + 12 > len(data):
            raise short()
        length, name = int.from_bytes(view[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise short()
        body = view[at + 8 : end - 4]
        if name[:1].isupper() and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise ContainerError("a checksum does not match")
        if name == b"IEND":
            break
        coded = coded or name == b"IDAT"
        if name == b"eXIf":
            exif = bytes(body).removeprefix(_EXIF_ID)
        elif name == b"iCCP" and not icc and not coded and length <= 2 * MAX_ICC:
            icc = bytes(body).partition(b"\x00")[2].removeprefix(b"\x00")  # after its name and the one method there is
        elif name == b"tRNS" and grey and length == 2:
            key = int.from_bytes(body, "big")
        elif name == b"acTL" and not coded and length >= 4:
            more = int.from_bytes(body[:4], "big") > 1
        at = end
    if not coded:
        raise ContainerError("it holds no picture data")
    return Container("PNG", width, height, exif, lossless=True, grey_key=key, icc=icc, more=more, bits=data[24])


def walk_webp(data: bytes) -> Container:
    stated = int.from_bytes(data[4:8], "little") + 8
    if stated > len(data) or stated < 20:
        raise short()
    size: tuple[int, int] | None = None
    exif, icc, flags, lossless, coded, frames, at, parts = b"", b"", 0, False, False, 0, 12, 0
    while at + 8 <= stated:
        parts += 1
        if parts > MAX_PARTS:
            raise too_many()
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            raise short()
        head = data[at + 8 : at + 8 + min(length, 16)]
        if name == b"VP8X" and len(head) >= 10:
            flags = head[0]
            size = int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
        elif name == b"VP8 " and len(head) >= 10:
            coded = True
            size = size or (int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF)
        elif name == b"VP8L" and len(head) >= 5:
            coded = lossless = True
            bits = int.from_bytes(head[1:5], "little")
            size = size or ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif name == b"ANMF":
            coded = True
            frames += 1
        elif name == b"ICCP" and flags & _VP8X_ICC and not icc and not coded and length <= MAX_ICC:
            icc = data[at + 8 : at + 8 + length]
        elif name == b"EXIF":
            exif = data[at + 8 : at + 8 + length].removeprefix(_EXIF_ID)
        at += 8 + length + (length & 1)
    if size is None or not coded:
        raise ContainerError("it holds no picture data")
    return Container("WEBP", *size, exif, lossless=lossless, icc=icc, more=frames > 1)
