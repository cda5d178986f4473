"""BGR pixels to files, with a packet that says that a machine took part (XMP, IPTC Digital Source Type).

EXIF, GPS and maker notes of the picture that came in are left behind; its RGB colour profile goes out as it came in. What
the encoders are set to and why: docs/decisions/0026.
"""

from __future__ import annotations

import io
import zlib
from typing import Literal, TypeAlias, cast

import cv2
import numpy as np
from PIL import Image

from serve_app.vision.container import Format
from serve_app.vision.face import Pixels
from serve_app.vision.header import ImageError, named
from serve_app.vision.picture import Picture

Output: TypeAlias = Literal["JPEG", "PNG", "WEBP", "AVIF"]

OUTPUTS: dict[str, Output] = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}  # as requests name them

# The longest side that can be written; of AVIF the longest that decoders take by default.
SIDES: dict[Output, int] = {"JPEG": 65_535, "PNG": 2**31 - 1, "WEBP": 16_383, "AVIF": 32_768}

# https://cv.iptc.org/newscodes/digitalsourcetype/: a real picture with parts made by a trained model.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    f' Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()

_SAMPLINGS = {
    (2, 2): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    (2, 1): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    (1, 2): cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
}

_PNG_HEADER = 33  # signature and IHDR
_JPEG_HEADER = 20  # start marker and JFIF, which has to come first
_SEGMENT = 65_519  # of a profile: 65,535 less the length, the name and the part's number


def output_of(format: Format, *, alpha: bool, width: int, height: int) -> Output:
    """What a result is written as where nobody asked for a format: as the target, or the nearest to it that is written here and holds it.

    GIF, BMP and TIFF become PNG. HEIC becomes JPEG, with alpha PNG. What is too long for its format becomes PNG.
    """
    if format == "HEIC":
        wanted: Output = "PNG" if alpha else "JPEG"
    elif format in ("GIF", "BMP", "TIFF"):
        wanted = "PNG"
    else:
        wanted = cast(Output, format)
    return wanted if max(width, height) <= SIDES[wanted] else "PNG"


def encode(picture: Picture, *, quality: int = 95, format: Output | None = None) -> bytes:
    """The picture as a file of `format`, or else of `output_of` its own. `quality` (0..100) counts for JPEG, AVIF and for WebP with loss:
    WebP has none only where the picture was WebP without loss.

    A JPEG keeps the colour resolution of the JPEG it was, and is 4:4:4 where it was none: halving moves the colour of pixels that the swap
    never touched, but for those that were halved before. JPEG has no alpha, so the picture is laid on white there.
    Raises ImageError when the encoder cannot do it.
    """
    height, width = picture.bgr.shape[:2]
    format = format or output_of(picture.format, alpha=picture.alpha is not None, width=width, height=height)
    if max(width, height) > SIDES[format]:
        raise ImageError("pixels", too_long(format, width, height))
    if format in ("WEBP", "AVIF"):
        return _by_pillow(picture, format, quality)
    if format == "PNG":
        # Of cv2's filters the average one gives the smallest file among the fast ones.
        plain = _checked(cv2.imencode(".png", _with_alpha(picture), [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]))
        return plain[:_PNG_HEADER] + _text_chunk(b"XML:com.adobe.xmp", XMP) + _profile_chunk(picture.icc) + plain[_PNG_HEADER:]
    packet = np.frombuffer(b"http://ns.adobe.com/xap/1.0/\x00" + XMP, np.uint8)
    sampling = _SAMPLINGS.get(picture.sampling, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    how = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    plain = _checked(cv2.imencodeWithMetadata(".jpg", _on_white(picture), [cv2.IMAGE_METADATA_XMP], [packet], how))
    return plain[:_JPEG_HEADER] + _profile_segments(picture.icc or b"") + plain[_JPEG_HEADER:]


def _with_alpha(picture: Picture) -> Pixels:
    """(H, W, 3) BGR, or (H, W, 4) BGRA where the picture has alpha."""
    return picture.bgr if picture.alpha is None else cast(Pixels, np.dstack([picture.bgr, picture.alpha]))


def _on_white(picture: Picture) -> Pixels:
    if picture.alpha is None:
        return picture.bgr
    share = picture.alpha[..., None].astype(np.uint16)
    return ((picture.bgr * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)


def _by_pillow(picture: Picture, format: Output, quality: int) -> bytes:
    """Pillow writes WebP: it sets the effort, which OpenCV cannot (1920 x 1080: 95 ms instead of 190, without loss 120 instead of 1,100).

    Method 2 makes files as small as OpenCV's; 0 and 1 are faster still but give up on large noisy pictures (libwebp's "error 6").
    AVIF's alpha is kept exactly, whatever the quality.
    """
    pixels = _with_alpha(picture)
    rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    how: dict[str, object]
    if format == "AVIF":
        how = {"quality": quality, "speed": 9, "subsampling": "4:4:4", "max_threads": 1}
        if picture.alpha is not None:
            how["advanced"] = {"alpha:lossless": "1"}
    elif picture.lossless and picture.format == "WEBP":
        how = {"lossless": True, "quality": 0, "method": 0, "exact": True}
    else:
        how = {"quality": quality, "method": 2}
    out = io.BytesIO()
    try:
        Image.fromarray(rgb).save(out, format, xmp=XMP, icc_profile=picture.icc, **how)
    except (ValueError, OSError, RuntimeError) as error:
        raise _no_encoder(named(format)) from error
    return out.getvalue()


def too_long(format: Output, width: int, height: int) -> str:
    """A sentence for people."""
    return f"A picture of {width} x {height} pixels cannot be written as {named(format)}: its sides end at {SIDES[format]:,}. Ask for png."


def _checked(result: tuple[bool, np.ndarray]) -> bytes:
    done, out = result
    if not done:
        raise _no_encoder("PNG or JPEG")
    return out.tobytes()


def _no_encoder(format: str) -> ImageError:
    return ImageError("pixels", f"The result cannot be written as {format}. Send a smaller picture.")


def _text_chunk(keyword: bytes, text: bytes) -> bytes:
    """An uncompressed iTXt chunk: where the XMP specification wants the packet in a PNG (OpenCV would write tEXt)."""
    return _chunk(b"iTXt", keyword + b"\x00\x00\x00\x00\x00" + text)


def _profile_segments(icc: bytes) -> bytes:
    """APP2 segments of a JPEG, as many as it takes (OpenCV 5.0 fails on profiles that do not fit into one)."""
    parts = [icc[at : at + _SEGMENT] for at in range(0, len(icc), _SEGMENT)]
    bodies = [b"ICC_PROFILE\x00" + bytes((number, len(parts))) + part for number, part in enumerate(parts, 1)]
    return b"".join(b"\xff\xe2" + (len(body) + 2).to_bytes(2, "big") + body for body in bodies)


def _profile_chunk(icc: bytes | None) -> bytes:
    return _chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(icc)) if icc else b""


def _chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
