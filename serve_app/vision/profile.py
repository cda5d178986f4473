"""The ICC colour profile of a picture: which colours its numbers mean.

That of an RGB picture is handed on, never applied. Inks and grey become RGB when they are decoded, so theirs are applied, to sRGB.

Source: the ICC specification (ICC.1, 7.2 header and 7.3 tag table).
"""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image, ImageCms

from serve_app.vision.container import MAX_ICC, Container
from serve_app.vision.face import Pixels

_HEADER = 128
_TAG = 12


def rgb_profile(container: Container) -> bytes | None:
    """The file's colour profile, of at most MAX_ICC bytes, or None where it has none that can be handed on.

    Broken profiles are dropped, and so are those of CMYK and grey pictures, whose pixels become RGB when they are decoded.
    """
    return _profile_of(container, b"RGB ")


def inks_profile(container: Container) -> bytes | None:
    """As `rgb_profile`, of a CMYK picture."""
    return _profile_of(container, b"CMYK")


def inks_to_srgb(cmyk: Image.Image, icc: bytes) -> Image.Image | None:
    """A CMYK picture in sRGB: relative colours, with black mapped to black. None where the profile cannot be used."""
    try:
        return ImageCms.applyTransform(cmyk, _to_srgb(icc, "CMYK"))
    except ImageCms.PyCMSError:
        return None


def grey_levels(container: Container) -> Pixels | None:
    """(256,) uint8: the sRGB grey of each level, by the profile of a grey picture. None where there is none, or it changes nothing."""
    icc = _profile_of(container, b"GRAY")
    if icc is None:
        return None
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    try:
        converted = np.asarray(ImageCms.applyTransform(ramp, _to_srgb(icc, "L")))[0]
    except ImageCms.PyCMSError:
        return None
    levels = np.rint(converted.mean(axis=1)).astype(np.uint8)
    return None if np.array_equal(levels, np.arange(256)) else levels


def _to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _profile_of(container: Container, space: bytes) -> bytes | None:
    """The file's profile where it is whole and for that colour space."""
    icc = _inflated(container.icc) if container.format == "PNG" else container.icc
    size = int.from_bytes(icc[:4], "big")
    icc = icc[:size]  # some writers pad
    whole = len(icc) == size and size >= _HEADER + 4 and icc[36:40] == b"acsp"
    return icc if whole and icc[16:20] == space and _tags_fit(icc) else None


def _inflated(data: bytes) -> bytes:
    """The bytes of a zlib stream, or b"" when it is damaged or holds more than MAX_ICC; no more than these are ever made."""
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(data, MAX_ICC + 1)
    except zlib.error:
        return b""
    return out if stream.eof and len(out) <= MAX_ICC else b""


def _tags_fit(icc: bytes) -> bool:
    """Whether all tags lie inside the profile; a reader that trusts those which do not reads foreign memory."""
    end = _HEADER + 4 + _TAG * int.from_bytes(icc[_HEADER : _HEADER + 4], "big")
    if end > len(icc):
        return False
    tags = (icc[at : at + _TAG] for at in range(_HEADER + 4, end, _TAG))
    return all(int.from_bytes(tag[4:8], "big") + int.from_bytes(tag[8:], "big") <= len(icc) for tag in tags)
