"""Files to BGR pixels. One decoder for each format, called by name: no other one that a library has is ever reached.

OpenCV reads with IMREAD_UNCHANGED, which keeps alpha and 16 bits and never turns the picture; Pillow's classes are called
directly. So the orientation is applied exactly once, here; only libheif (HEIC) turns by itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
import pi_heif
from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, TiffImagePlugin

from serve_app.vision.container import Container, Format
from serve_app.vision.face import Pixels
from serve_app.vision.header import ImageError, named, read_container, upright_by
from serve_app.vision.picture import Note, Picture
from serve_app.vision.profile import grey_levels, inks_profile, inks_to_srgb, rgb_profile

# Threads are ours: one picture, one core.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pi_heif.options.DECODE_THREADS = 1

_TURNS = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
FIRST = Note("first-frame", "动图或多页图片只处理了第一帧 (it has several frames or pages; only the first was used)")
DEPTH = Note("eight-bits", "位深度已转换为8位 (its channels were rounded to 8 bits)")
INKS = Note("cmyk", "CMYK已按其ICC配置文件转换为sRGB (CMYK was converted to sRGB by its ICC profile)")
PLAIN_INKS = Note(
    "cmyk-plain", "CMYK没有可用的ICC配置文件，已按默认公式转换为sRGB (CMYK without a usable ICC profile: converted by the plain formula)"
)
GREY = Note("grey", "灰度已按其ICC配置文件转换为sRGB (grey was converted to sRGB by its ICC profile)")


def decode(data: bytes) -> Picture:
    """Pixels of a picture file (the first frame of an animation, the first page), turned upright.

    Greyscale, palette and inks become BGR, 16 bits are rounded to 8. The caller has bounded the size with `probe`.
    Raises ImageError.
    """
    container = read_container(data)
    notes = [FIRST] if container.more else []
    inks: Note | None = None
    raw: np.ndarray | None
    try:
        if container.inks:
            raw, inks = _from_inks(data, container)
        else:
            raw = _DECODERS[container.format](data, container)
    except MemoryError:
        raise
    except Exception as error:  # of untrusted bytes; decoders raise whatever they come across
        raise _damaged(container.format) from error
    orientation = upright_by(container)
    size = container.height, container.width
    if container.format == "HEIC" and orientation >= 5:
        size = size[::-1]
    if raw is None or raw.shape[:2] != size:
        raise _damaged(container.format)
    alpha: Pixels | None = None
    if raw.ndim == 2 and container.grey_key is not None:  # the one transparency that OpenCV drops
        alpha = _grey_alpha(raw, container.grey_key, bits=container.bits)
    if container.bits > 8:
        notes.append(DEPTH)
    if raw.dtype == np.uint16:
        raw = cv2.convertScaleAbs(raw, alpha=1 / 257)
    elif raw.dtype != np.uint8:
        raw = _from_real(raw)
    if container.format == "HEIC":
        orientation = 1
    pixels = _upright(cast(Pixels, raw), orientation)
    icc = None if inks else rgb_profile(container)
    if pixels.ndim == 2:
        levels = grey_levels(container)
        if levels is not None:
            pixels = cast(Pixels, cv2.LUT(pixels, levels))
            notes.append(GREY)
        bgr = cast(Pixels, cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
        alpha = None if alpha is None else _upright(alpha, orientation)
    elif pixels.shape[2] == 4:
        bgr, alpha = cast(Pixels, cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)), cast(Pixels, cv2.extractChannel(pixels, 3))
    else:
        bgr = pixels
    if inks:
        notes.append(inks)
    sampling = container.sampling if orientation < 5 else container.sampling[::-1]
    return Picture(bgr, alpha, container.format, container.lossless, icc, tuple(notes), sampling)


def _damaged(format: Format) -> ImageError:
    return ImageError("damaged", f"The {named(format)} file is damaged: its pixels cannot be read. Send the picture again.")


def _opencv(data: bytes, container: Container) -> np.ndarray | None:
    return cast("np.ndarray | None", cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def _pillow(image: Image.Image) -> np.ndarray:
    """(H, W) grey, or BGR or BGRA."""
    if image.mode in ("L", "1"):
        return np.array(image.convert("L"))
    if image.has_transparency_data:
        return cv2.cvtColor(np.asarray(image.convert("RGBA")), cv2.COLOR_RGBA2BGRA)
    return cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)


def _opened(kind: Callable[[io.BytesIO], Image.Image], data: bytes, container: Container) -> Image.Image:
    """With the size that its header states, or ValueError: before anything is reserved for it."""
    image = kind(io.BytesIO(data))
    if image.size != (container.width, container.height):
        raise ValueError("sizes differ")
    return image


def _gif(data: bytes, container: Container) -> np.ndarray:
    return _pillow(_opened(GifImagePlugin.GifImageFile, data, container))


def _bmp(data: bytes, container: Container) -> np.ndarray:
    return _pillow(_opened(BmpImagePlugin.BmpImageFile, data, container))


def _avif(data: bytes, container: Container) -> np.ndarray:
    still = data[:8] + b"avif" + data[12:]  # of an animation the picture that stands for it, not its tracks
    return _pillow(_opened(AvifImagePlugin.AvifImageFile, still, container))


def _heic(data: bytes, container: Container) -> np.ndarray:
    image = pi_heif.open_heif(data, convert_hdr_to_8bit=True)
    turned = (container.height, container.width) if upright_by(container) >= 5 else (container.width, container.height)
    if image.size != turned:
        raise ValueError("sizes differ")
    return _pillow(image.to_pillow())


def _tiff(data: bytes, container: Container) -> np.ndarray | None:
    data = _untagged(data, container)
    return _opencv(data, container) if container.bits > 8 else _pillow(_opened(TiffImagePlugin.TiffImageFile, data, container))


def _untagged(data: bytes, container: Container) -> bytes:
    """A TIFF that says it is upright: some decoders would turn it, and others not."""
    at = container.orientation_at
    if at is None or container.orientation == 1:
        return data
    return data[:at] + (b"\x01\x00" if data[:2] == b"II" else b"\x00\x01") + data[at + 2 :]


_DECODERS: dict[Format, Callable[[bytes, Container], np.ndarray | None]] = {
    "JPEG": _opencv,
    "PNG": _opencv,
    "WEBP": _opencv,
    "AVIF": _avif,
    "HEIC": _heic,
    "TIFF": _tiff,
    "GIF": _gif,
    "BMP": _bmp,
}


def _from_inks(data: bytes, container: Container) -> tuple[np.ndarray, Note]:
    """BGR in sRGB of a CMYK or YCCK picture. (Pillow knows that Adobe's are stored inverted.)"""
    if container.format == "JPEG":
        image = _opened(JpegImagePlugin.JpegImageFile, data, container)
    else:
        image = _opened(TiffImagePlugin.TiffImageFile, _untagged(data, container), container)
    if image.mode != "CMYK":
        raise ValueError("not CMYK")
    profile = inks_profile(container)
    converted = None if profile is None else inks_to_srgb(image, profile)
    return _pillow(converted or image.convert("RGB")), INKS if converted else PLAIN_INKS


def _from_real(raw: np.ndarray) -> np.ndarray:
    """Of floating point: 0 to 1, or to the largest value where that is more. What is no number becomes 0."""
    values = np.nan_to_num(raw.astype(np.float32, copy=False), nan=0.0, posinf=1.0, neginf=0.0)
    most = float(values.max(initial=1.0))
    return cast(np.ndarray, np.rint(np.clip(values, 0, most) * np.float32(255 / most)).astype(np.uint8))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation: 5 to 8 exchange width and height."""
    if orientation in _TURNS:
        return cast(Pixels, cv2.rotate(pixels, _TURNS[orientation]))
    if orientation == 2:
        return cast(Pixels, cv2.flip(pixels, 1))
    if orientation == 4:
        return cast(Pixels, cv2.flip(pixels, 0))
    if orientation == 5:
        return cast(Pixels, cv2.transpose(pixels))
    if orientation == 7:
        return cast(Pixels, cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180))
    return pixels


def _grey_alpha(grey: np.ndarray, key: int, bits: int) -> Pixels:
    """Alpha (H, W) of a greyscale PNG whose level `key` is transparent; OpenCV has stretched less than 8 bits to 0..255."""
    level = key * 255 // (2**bits - 1) if bits < 8 else key
    return np.where(grey == level, 0, 255).astype(np.uint8)
