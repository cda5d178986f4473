"""vision/image.py: pixels come in exactly, the right way up, and go out in the same format with one honest label."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps, JpegImagePlugin

from serve_app.vision.face import Pixels
from serve_app.vision.image import ImageError, Picture, decode, encode, letterbox, probe
from tests.pictures import SIX_PEOPLE, read

FORMATS = ["JPEG", "PNG", "WEBP"]
RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (24, 36, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (24, 36), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (24, 36), dtype=np.uint8)


def astronaut() -> Pixels:
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.submodule_search_locations
    pixels = cv2.imread(str(Path(spec.submodule_search_locations[0]) / "data" / "astronaut.png"))
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def rgba(data: bytes) -> NDArray[np.uint8]:
    """What Pillow sees, upright, (H, W, 4) RGBA."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA"))


def ours(picture: Picture) -> NDArray[np.uint8]:
    """A picture of ours as (H, W, 4) RGBA."""
    alpha = np.full(picture.bgr.shape[:2], 255, np.uint8) if picture.alpha is None else picture.alpha
    return np.dstack([picture.bgr[..., ::-1], alpha])


MODES: dict[str, Callable[[], bytes]] = {
    "rgb": lambda: saved(Image.fromarray(RGB), "PNG"),
    "rgba": lambda: saved(Image.fromarray(np.dstack([RGB, ALPHA])), "PNG"),
    "grey": lambda: saved(Image.fromarray(GREY), "PNG"),
    "grey and alpha": lambda: saved(Image.fromarray(np.dstack([GREY, ALPHA])), "PNG"),
    "one bit": lambda: saved(Image.fromarray(GREY).convert("1"), "PNG"),
    "palette": lambda: saved(Image.fromarray(RGB).quantize(200), "PNG"),
    "palette of 4 bits": lambda: saved(Image.fromarray(RGB).quantize(9), "PNG"),
    "palette with a clear colour": lambda: saved(Image.fromarray(RGB).quantize(64), "PNG", transparency=3),
    "palette with alphas": lambda: saved(Image.fromarray(RGB).quantize(64), "PNG", transparency=bytes(range(64))),
    "rgb with a clear colour": lambda: saved(Image.fromarray(RGB), "PNG", transparency=tuple(map(int, RGB[3, 4]))),
    "grey with a clear level": lambda: saved(Image.fromarray(GREY), "PNG", transparency=int(GREY[3, 4])),
    "one bit with a clear level": lambda: saved(Image.fromarray(GREY).convert("1"), "PNG", transparency=1),
    "interlaced": lambda: interlaced_png(),
    "webp": lambda: saved(Image.fromarray(RGB), "WEBP"),
    "webp without loss": lambda: saved(Image.fromarray(np.dstack([RGB, ALPHA])), "WEBP", lossless=True, exact=True),
    "jpeg": lambda: saved(Image.fromarray(RGB), "JPEG"),
    "grey jpeg": lambda: saved(Image.fromarray(GREY), "JPEG"),
    "progressive jpeg": lambda: saved(Image.fromarray(RGB), "JPEG", progressive=True),
}


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def interlaced_png() -> bytes:
    rows = b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        rows += b"".join(b"\x00" + row.tobytes() for row in RGB[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", RGB.shape[1], RGB.shape[0], 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_picture_is_read_as_pillow_reads_it(mode: str) -> None:
    data = MODES[mode]()
    picture = decode(data)
    assert picture.bgr.dtype == np.uint8
    assert picture.bgr.flags.c_contiguous
    np.testing.assert_array_equal(ours(picture), rgba(data))
    assert (picture.alpha is not None) == ("alpha" in mode or "clear" in mode or mode in {"rgba", "webp without loss"})


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_rounded_to_eight(channels: int) -> None:
    deep = RNG.integers(0, 65536, (24, 36, channels), dtype=np.uint16)
    picture = decode(cv2.imencode(".png", deep)[1].tobytes())
    shallow = np.rint(deep / 257).astype(np.uint8)
    np.testing.assert_array_equal(picture.bgr, np.broadcast_to(shallow[..., :3], picture.bgr.shape))
    if channels == 4:
        np.testing.assert_array_equal(picture.alpha, shallow[..., 3])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone_once(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.dstack([RGB, ALPHA]) if format == "PNG" else RGB
    data = saved(Image.fromarray(pixels), format, exif=exif)
    picture = decode(data)
    np.testing.assert_array_equal(ours(picture), rgba(data))
    assert (probe(data).height, probe(data).width) == picture.bgr.shape[:2]
    again = decode(encode(picture))
    assert again.bgr.shape == picture.bgr.shape  # the tag is gone, so nothing is turned twice
    assert probe(encode(picture)).orientation == 1


def test_a_grey_picture_with_a_clear_level_is_turned_with_its_alpha() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(GREY), "PNG", transparency=int(GREY[3, 4]), exif=exif)
    np.testing.assert_array_equal(ours(decode(data)), rgba(data))


@pytest.mark.parametrize(("format", "lossless"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_lossless_in_is_lossless_out(format: str, lossless: dict[str, bool], with_alpha: bool) -> None:
    pixels = np.dstack([RGB, ALPHA]) if with_alpha else RGB
    first = decode(saved(Image.fromarray(pixels), format, **lossless))
    second = decode(encode(first))
    np.testing.assert_array_equal(ours(second), ours(first))
    np.testing.assert_array_equal(second.bgr, RGB[..., ::-1])
    assert (second.format, second.lossless) == (format, True)
    assert (second.alpha is not None) == with_alpha


@pytest.mark.parametrize(("format", "least_db"), [("JPEG", 40.5), ("WEBP", 38.0)])
def test_one_encoding_with_loss_stays_close(format: str, least_db: float) -> None:
    pixels = astronaut()
    data = encode(Picture(pixels, None, "JPEG" if format == "JPEG" else "WEBP"))
    assert Image.open(io.BytesIO(data)).format == format
    assert cv2.PSNR(pixels, decode(data).bgr) > least_db  # measured: 41.2 and 38.7
    coarse = encode(Picture(pixels, None, "JPEG" if format == "JPEG" else "WEBP"), quality=60)
    assert len(coarse) < len(data) / 2


def test_webp_with_loss_keeps_alpha_exactly() -> None:
    picture = decode(saved(Image.fromarray(np.dstack([RGB, ALPHA])), "WEBP"))
    assert not picture.lossless
    np.testing.assert_array_equal(decode(encode(picture)).alpha, ALPHA)


def test_what_was_no_jpeg_keeps_full_colour_resolution() -> None:
    assert sampling(encode(decode(saved(Image.fromarray(RGB), "PNG")), format="JPEG")) == 0


@pytest.mark.parametrize("subsampling", [0, 1, 2], ids=["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_keeps_its_own_colour_resolution(subsampling: int) -> None:
    before = decode(saved(Image.fromarray(read(SIX_PEOPLE)[..., ::-1]), "JPEG", quality=90, subsampling=subsampling))
    data, full = encode(before), encode(replace(before, sampling=(1, 1)))
    assert sampling(data) == subsampling
    assert len(data) <= len(full)
    assert cv2.PSNR(before.bgr, decode(data).bgr) >= cv2.PSNR(before.bgr, decode(full).bgr)


def test_a_jpeg_on_its_side_keeps_the_colour_resolution_of_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(decode(saved(Image.fromarray(RGB), "JPEG", subsampling=1, exif=exif)))
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        assert [layer[1:3] for layer in image.layer] == [(1, 2), (1, 1), (1, 1)]


def sampling(data: bytes) -> int:
    """As Pillow numbers them: 4:4:4, 4:2:2 and 4:2:0."""
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return JpegImagePlugin.get_sampling(image)


@pytest.mark.parametrize("format", FORMATS)
def test_the_only_metadata_that_goes_out_is_the_label(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 3, "a camera"
    picture = decode(saved(Image.fromarray(RGB), format, exif=exif))
    with Image.open(io.BytesIO(encode(picture))) as image:
        image.load()
        packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
        assert not image.getexif()
        told = {str(name) for name in image.info if not str(name).startswith("jfif")} - {"loop", "background", "timestamp", "duration"}
        assert told <= {"xmp", "XML:com.adobe.xmp"}
    root = ElementTree.fromstring(packet if isinstance(packet, str) else packet.decode("utf-8-sig"))
    label = root.find(".//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert label is not None
    assert label.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType") == (
        "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    )


def test_the_label_of_a_png_stands_where_xmp_readers_look() -> None:
    data = encode(Picture(RGB, None, "PNG"))
    assert data[37:41] == b"iTXt"
    assert probe(data).width == 36


@pytest.mark.parametrize("format", ["WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())
    picture = decode(saved(first, format, save_all=True, append_images=[second], lossless=True, exact=True))
    np.testing.assert_array_equal(picture.bgr, RGB[..., ::-1])


def test_a_file_that_passes_the_probe_and_cannot_be_decoded() -> None:
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(500))) + chunk(b"IEND", b"")
    assert probe(data).width == 64
    with pytest.raises(ImageError, match="PNG file is damaged") as caught:
        decode(data)
    assert caught.value.reason == "damaged"


WHOLE = [saved(Image.fromarray(RGB), format, **({"lossless": True} if format == "WEBP" else {})) for format in FORMATS]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_is_only_ever_an_image_error(data: bytes, changes: list[tuple[int, int]]) -> None:
    broken = bytearray(data)
    for at, value in changes:
        broken[at % len(broken)] = value
    with suppress(ImageError):
        header = probe(bytes(broken))
        picture = decode(bytes(broken))
        assert picture.bgr.shape == (header.height, header.width, 3)


@pytest.mark.parametrize(
    ("height", "width", "inside"), [(300, 400, (480, 640)), (2000, 1000, (640, 320)), (640, 640, (640, 640)), (2000, 2, (640, 1))]
)
def test_letterbox_fits_top_left_on_black(height: int, width: int, inside: tuple[int, int]) -> None:
    frame = letterbox(np.full((height, width, 3), 200, np.uint8), 640)
    canvas = frame.square()
    assert canvas.shape == (640, 640, 3)
    assert frame.scale == 640 / max(height, width)
    assert (canvas[: inside[0], : inside[1]] == 200).all()
    assert not canvas[inside[0] :].any()
    assert not canvas[:, inside[1] :].any()


def test_letterbox_keeps_points_in_their_places() -> None:
    pixels = np.zeros((1200, 900, 3), np.uint8)
    cv2.circle(pixels, (600, 300), 40, (255, 255, 255), -1)
    frame = letterbox(pixels, 640)
    y, x = np.argwhere(frame.square()[..., 0] > 127).mean(0)
    assert np.hypot(x / frame.scale - 600, y / frame.scale - 300) < 2


def test_letterbox_of_its_own_size_is_the_picture() -> None:
    pixels = cv2.resize(astronaut(), (640, 400))
    frame = letterbox(np.asarray(pixels, np.uint8), 640)
    assert frame.scale == 1
    np.testing.assert_array_equal(frame.square()[:400], pixels)
