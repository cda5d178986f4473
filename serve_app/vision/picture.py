"""A decoded picture, and what people are told about how it was read."""

from __future__ import annotations

from dataclasses import dataclass, field

from serve_app.vision.container import Format
from serve_app.vision.face import Pixels


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was done to a picture and that its owner may not expect. text: in Chinese and English. code: for programs."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """bgr: (H, W, 3) uint8. alpha: (H, W) uint8 or None. format: of the file it came from.

    lossless: the file it came from kept every pixel (PNG, WebP without loss), so the one that goes out shall too.
    sampling: of colour in a JPEG, as `Container` has it, for the picture as it stands here.
    icc: the ICC profile that says which colours the values of `bgr` mean; None: sRGB, as for all files without one.
    """

    bgr: Pixels
    alpha: Pixels | None
    format: Format
    lossless: bool = False
    icc: bytes | None = field(default=None, repr=False)
    notes: tuple[Note, ...] = ()
    sampling: tuple[int, int] = (1, 1)
