"""vision/header.py and vision/container.py: what is taken, what is refused and in which words, before a pixel is decoded."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from serve_app.vision.container import MAX_SCANS
from serve_app.vision.header import ImageError, orientation_of, probe
from tests.vision.refusals import refused, refused_at

FORMATS = ["JPEG", "PNG", "WEBP"]


def picture(width: int = 48, height: int = 32, seed: int = 0) -> Image.Image:
    rows = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(rows)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_bomb(width: int, height: int) -> bytes:
    data = bytearray(saved(picture(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_bomb(width: int, height: int) -> bytes:
    data = bytearray(saved(picture(), "WEBP", exif=oriented(1)))
    at = data.index(b"VP8X")
    data[at + 12 : at + 18] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_the_one_people_see(format: str, orientation: int) -> None:
    data = saved(picture(48, 32), format, exif=oriented(orientation))
    header = probe(data)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (header.format, header.orientation, (header.width, header.height)) == (format, orientation, upright.size)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"progressive": True}),
        ("JPEG", {"comment": b"\xff\xd9 not the end"}),
        ("JPEG", {"restart_marker_blocks": 1}),
        ("PNG", {"optimize": True}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 10}),
        ("WEBP", {"save_all": True, "append_images": [picture(seed=1)]}),
        ("PNG", {"save_all": True, "append_images": [picture(seed=1)]}),
        ("MPO", {"save_all": True, "append_images": [picture(seed=1)]}),  # phones write JPEG with a second picture behind
    ],
)
def test_every_flavour_is_taken(format: str, options: dict[str, object]) -> None:
    data = saved(picture(), format, **options)
    header = probe(data)
    assert (header.format, header.width, header.height) == ("JPEG" if format == "MPO" else format, 48, 32)


@pytest.mark.parametrize("format", FORMATS)
def test_bytes_after_the_end_are_tolerated(format: str) -> None:
    data = saved(picture(), format)
    assert probe(data + b"\x00trailing\xff\xd9") == probe(data)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_cut_anywhere_is_refused(format: str) -> None:
    data = saved(picture(24, 16), format, exif=oriented(6))
    reasons = {refused(data[:length]).reason for length in range(len(data))}
    assert reasons == {"format", "truncated"}
    assert probe(data).height == 24


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_file() -> None:
    data = saved(picture(), "JPEG")
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00" + saved(picture(16, 16), "JPEG")
    whole = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert probe(whole).width == 48
    assert refused(whole[:-20]).reason == "truncated"


@pytest.mark.parametrize("bomb", [png_bomb(30_000, 30_000), jpeg_bomb(30_000, 30_000), webp_bomb(16_000, 16_000)])
def test_a_bomb_is_refused_by_its_header_without_its_memory(bomb: bytes) -> None:
    assert len(bomb) < 8_000
    error, peak = refused_at(bomb)
    assert error.reason == "pixels"
    assert "40,000,000" in str(error)
    assert peak < 200_000


@pytest.mark.parametrize(
    ("width", "height", "reason"), [(1, 500, "side"), (500, 1, "side"), (15, 15, "side"), (16, 1025, "aspect"), (1040, 16, "aspect")]
)
def test_slivers_are_refused(width: int, height: int, reason: str) -> None:
    error = refused(saved(picture(width, height), "PNG"))
    assert error.reason == reason
    assert f"{width} x {height}" in str(error)


def test_the_bounds_themselves_are_taken() -> None:
    assert probe(saved(picture(16, 1024), "PNG")).height == 1024
    assert probe(saved(picture(20, 30), "PNG"), max_pixels=600, min_side=20, max_aspect=1.5).width == 20


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 and so on", "PDF"),
        (b"\n<!DOCTYPE html><html></html>", "HTML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "JPEG, PNG, WebP"),
        (b"just some words", "JPEG, PNG, WebP"),
    ],
)
def test_other_files_are_refused_by_name(data: bytes, word: str) -> None:
    error = refused(data)
    assert error.reason == "format"
    assert word in str(error)


def test_a_damaged_png_is_refused_by_its_checksum() -> None:
    data = bytearray(saved(picture(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert refused(bytes(data)).reason == "damaged"


def test_a_file_without_picture_data_is_refused() -> None:
    png = saved(picture(), "PNG")
    assert refused(png[:33] + chunk(b"IEND", b"")).reason == "damaged"
    assert refused(b"\xff\xd8\xff\xd9").reason == "damaged"
    assert refused(b"RIFF" + struct.pack("<I", 12) + b"WEBPXMP " + bytes(4)).reason == "damaged"


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = saved(picture(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    scan = data[at:-2]
    assert probe(data[:-2] + scan * 3 + data[-2:]).width == 48
    assert "scans" in str(refused(data[:-2] + scan * MAX_SCANS + data[-2:]))


def test_exif_of_either_byte_order_and_of_none() -> None:
    entry = {"<": b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00", ">": b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"}
    assert orientation_of(b"II*\x00\x08\x00\x00\x00\x01\x00" + entry["<"]) == 6
    assert orientation_of(b"MM\x00*\x00\x00\x00\x08\x00\x01" + entry[">"]) == 6
    assert orientation_of(b"MM\x00*\x00\x00\x00\x08\x00\x01" + entry[">"].replace(b"\x06", b"\x09")) == 1
    assert orientation_of(b"") == 1


@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\x00", b"MM\x00*"]))
@example(b"\x08\x00\x00\x00\xff\xff", b"II*\x00")
def test_no_exif_block_breaks_the_reader(rest: bytes, start: bytes) -> None:
    assert 1 <= orientation_of(start + rest) <= 8


WHOLE = [saved(picture(24, 16), format, exif=oriented(8)) for format in FORMATS]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8), st.binary(max_size=12))
def test_damage_is_only_ever_an_image_error(data: bytes, changes: list[tuple[int, int]], inserted: bytes) -> None:
    broken = bytearray(data)
    for at, value in changes:
        broken[at % len(broken)] = value
    middle = len(broken) // 3
    with suppress(ImageError):
        assert probe(bytes(broken[:middle] + inserted + broken[middle:])).width >= 16


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(refused(b"")))
    assert isinstance(error, ImageError)
    assert error.reason == "format"
    assert "empty" in str(error)
