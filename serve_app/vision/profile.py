"""The ICC colour profile of a picture: which colours its numbers mean. It is handed on, never applied.

Source: the ICC specification (ICC.1, 7.2 header and 7.3 tag table).
"""

from __future__ import annotations

import zlib

from serve_app.vision.container import MAX_ICC, Container

_HEADER = 128
_TAG = 12


def rgb_profile(container: Container) -> bytes | None:
    """The file's colour profile, of at most MAX_ICC bytes, or None where it has none that can be handed on.

    Broken profiles are dropped, and so are those of CMYK and grey pictures, whose pixels become RGB when they are decoded.
    """
    icc = _inflated(container.icc) if container.format == "PNG" else container.icc
    size = int.from_bytes(icc[:4], "big")
    icc = icc[:size]  # some writers pad
    whole = len(icc) == size and size >= _HEADER + 4 and icc[36:40] == b"acsp"
    return icc if whole and icc[16:20] == b"RGB " and _tags_fit(icc) else None


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
