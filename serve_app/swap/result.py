"""The result of a swap as a file: in which format, and what its owner is to be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from serve_app.options import OutputWish
from serve_app.vision.header import named
from serve_app.vision.image import OUTPUTS, Note, Output, Picture, encode, output_of

_NOTHING = OutputWish()


@dataclass(frozen=True, slots=True)
class Written:
    """output: how it was written, for the task's properties; None where that is simply as the target."""

    data: bytes = field(repr=False)
    format: Output
    notes: tuple[Note, ...]
    output: dict[str, object] | None


def write(picture: Picture, wish: OutputWish | None, quality: int) -> Written:
    """picture: in the format of the target. quality: where the wish names none. Raises ImageError."""
    wish = wish or _NOTHING
    height, width = picture.bgr.shape[:2]
    alpha = picture.alpha is not None
    own = output_of(picture.format, alpha=alpha, width=width, height=height)
    format = OUTPUTS[wish.format] if wish.format else own
    quality = wish.quality or quality
    data = encode(picture, quality=quality, format=format)
    notes = []
    if format != picture.format and not wish.format:
        notes.append(Note("output-format", f"结果以{named(format)}格式保存 (the result is {named(format)}, not {named(picture.format)})"))
    if alpha and format == "JPEG":
        notes.append(Note("alpha", "JPEG不支持透明，已合成到白色背景 (JPEG has no alpha: the picture was laid on white)"))
    output: dict[str, object] = {"format": format.lower()}
    if format != "PNG" and not (format == picture.format == "WEBP" and picture.lossless):
        output["quality"] = quality
    return Written(data, format, tuple(notes), output if notes or wish != _NOTHING else None)
