"""vision/profile.py: the colour profile of a picture comes out byte for byte, or not at all."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from serve_app.vision.container import MAX_ICC, Container
from serve_app.vision.image import ImageError, decode, encode, probe
from serve_app.vision.profile import rgb_profile

FORMATS = ["JPEG", "PNG", "WEBP"]
RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (24, 36, 3), dtype=np.uint8)
SMALL = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def sized(size: int) -> bytes:
    """A valid profile of `size` bytes: the last of them belong to no tag."""
    return struct.pack(">I", size) + SMALL[4:] + RNG.bytes(size - len(SMALL))


def of_space(space: bytes) -> bytes:
    return SMALL[:16] + space + SMALL[20:]


LARGE = sized(200_000)  # four segments of a JPEG


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def with_profile(format: str, icc: bytes | None) -> bytes:
    return saved(Image.fromarray(RGB), format, icc_profile=icc)


def seen_by_pillow(data: bytes) -> bytes | None:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.info.get("icc_profile")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(compressed: bytes) -> bytes:
    plain = with_profile("PNG", None)
    return plain[:33] + chunk(b"iCCP", b"a name\x00\x00" + compressed) + plain[33:]


def jpeg_with(*parts: tuple[int, int, bytes]) -> bytes:
    """A JPEG with APP2 segments of (number, count, bytes)."""
    bodies = [b"ICC_PROFILE\x00" + bytes((number, count)) + part for number, count, part in parts]
    segments = b"".join(b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body for body in bodies)
    plain = with_profile("JPEG", None)
    return plain[:20] + segments + plain[20:]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("icc", [SMALL, LARGE, sized(MAX_ICC)], ids=["small", "large", "largest"])
def test_the_profile_goes_in_and_out_byte_for_byte(format: str, icc: bytes) -> None:
    picture = decode(with_profile(format, icc))
    assert picture.icc == icc
    result = encode(replace(picture, bgr=picture.bgr[::-1].copy()))
    assert seen_by_pillow(result) == icc
    again = decode(result)
    assert again.icc == icc
    assert decode(encode(again)).icc == icc


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_without_a_profile_gets_none(format: str) -> None:
    picture = decode(with_profile(format, None))
    assert picture.icc is None
    assert seen_by_pillow(encode(picture)) is None


@pytest.mark.parametrize("format", FORMATS)
def test_the_profile_changes_no_pixel(format: str) -> None:
    plain, profiled = decode(with_profile(format, None)), decode(with_profile(format, LARGE))
    np.testing.assert_array_equal(profiled.bgr, plain.bgr)
    np.testing.assert_array_equal(decode(encode(profiled)).bgr, decode(encode(plain)).bgr)
    header = probe(encode(profiled))
    assert (header.format, header.width, header.height) == (format, 36, 24)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_a_profile_and_alpha_go_together(format: str) -> None:
    alpha = RNG.integers(0, 256, (24, 36), dtype=np.uint8)
    picture = decode(saved(Image.fromarray(np.dstack([RGB, alpha])), format, icc_profile=SMALL, lossless=True, exact=True))
    again = decode(encode(picture))
    assert again.icc == SMALL
    np.testing.assert_array_equal(again.alpha, alpha)
    np.testing.assert_array_equal(again.bgr, RGB[..., ::-1])


def test_an_animated_webp_has_its_profile_too() -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    assert decode(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], icc_profile=SMALL)).icc == SMALL


def test_the_profile_of_a_palette_goes_on() -> None:
    assert decode(saved(Image.fromarray(RGB).quantize(16), "PNG", icc_profile=SMALL)).icc == SMALL


def test_profiles_that_are_not_for_rgb_are_dropped() -> None:
    cmyk = decode(saved(Image.fromarray(RGB).convert("CMYK"), "JPEG", icc_profile=of_space(b"CMYK")))
    assert cmyk.icc is None
    assert seen_by_pillow(encode(cmyk)) is None
    for format in ("JPEG", "PNG"):
        assert decode(saved(Image.fromarray(RGB).convert("L"), format, icc_profile=of_space(b"GRAY"))).icc is None


def test_segments_of_a_jpeg_may_stand_in_any_order() -> None:
    assert decode(jpeg_with((2, 2, SMALL[300:]), (1, 2, SMALL[:300]))).icc == SMALL
    many = [(number, 255, LARGE[(number - 1) * 800 : number * 800]) for number in range(1, 256)]
    assert decode(jpeg_with(*many)).icc == LARGE


@pytest.mark.parametrize(
    "parts",
    [
        [(1, 2, SMALL)],
        [(2, 2, SMALL)],
        [(1, 2, SMALL[:300]), (1, 2, SMALL[300:])],
        [(1, 2, SMALL[:300]), (2, 3, SMALL[300:])],
        [(0, 1, SMALL)],
        [(1, 1, SMALL), (1, 1, SMALL)],
        [(1, 255, b"")] * 300,
        [(number, 255, bytes(65_000)) for number in range(1, 256)],
        [(1, 1, b"")],
    ],
    ids=["missing", "first missing", "twice", "counts differ", "from 0", "two profiles", "300", "16 MB", "empty"],
)
def test_segments_that_do_not_add_up_are_dropped(parts: list[tuple[int, int, bytes]]) -> None:
    picture = decode(jpeg_with(*parts))
    assert picture.icc is None
    assert picture.bgr.shape == (24, 36, 3)


@pytest.mark.parametrize("format", FORMATS)
def test_a_profile_over_the_bound_is_dropped(format: str) -> None:
    picture = decode(with_profile(format, sized(MAX_ICC + 1)))
    assert picture.icc is None
    assert picture.bgr.shape == (24, 36, 3)


def test_a_compressed_bomb_costs_no_memory() -> None:
    packer = zlib.compressobj(9)
    compressed = b"".join(packer.compress(bytes(2**20)) for _ in range(500)) + packer.flush()
    container = Container("PNG", 36, 24, icc=compressed)
    tracemalloc.start()
    try:
        assert rgb_profile(container) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_ICC
    assert decode(png_with(compressed)).bgr.shape == (24, 36, 3)


@pytest.mark.parametrize(
    "compressed", [b"", b"not zlib", zlib.compress(SMALL)[:-5], zlib.compress(SMALL)[:-1] + b"?"], ids=["empty", "other", "cut", "sum"]
)
def test_a_damaged_stream_is_dropped(compressed: bytes) -> None:
    picture = decode(png_with(compressed))
    assert picture.icc is None
    np.testing.assert_array_equal(picture.bgr, RGB[..., ::-1])


@pytest.mark.parametrize(
    "icc",
    [
        SMALL[:100],
        SMALL[:-1],
        SMALL[:36] + b"????" + SMALL[40:],
        SMALL[:128] + b"\xff\xff\xff\xff" + SMALL[132:],
        SMALL[:136] + b"\x7f\xff\xff\xff" + SMALL[140:],
        SMALL[:140] + b"\x00\x01\x00\x00" + SMALL[144:],
    ],
    ids=["no header", "cut", "no signature", "tag count", "tag offset", "tag size"],
)
@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_a_broken_profile_is_dropped(format: str, icc: bytes) -> None:
    assert decode(with_profile(format, icc)).icc is None


def test_padding_behind_a_profile_is_cut_off() -> None:
    assert decode(with_profile("WEBP", SMALL + bytes(3))).icc == SMALL


def test_a_webp_profile_counts_only_where_the_header_announces_it() -> None:
    data = bytearray(with_profile("WEBP", SMALL))
    data[20] &= ~0x20
    assert decode(bytes(data)).icc is None


def test_a_profile_behind_the_pixels_is_not_one() -> None:
    late = with_profile("PNG", None)[:-12] + chunk(b"iCCP", b"a name\x00\x00" + zlib.compress(SMALL)) + chunk(b"IEND", b"")
    assert decode(late).icc is None


def test_the_repr_of_a_picture_leaves_the_profile_out() -> None:
    assert "icc" not in repr(decode(with_profile("PNG", SMALL)))


WHOLE = [with_profile(format, SMALL) for format in FORMATS]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_never_breaks_the_way_through(data: bytes, changes: list[tuple[int, int]]) -> None:
    broken = bytearray(data)
    for at, value in changes:
        broken[at % len(broken)] = value
    with suppress(ImageError):
        probe(bytes(broken))
        picture = decode(bytes(broken))
        assert decode(encode(picture)).icc == picture.icc
