"""Every kind of picture that people send, over HTTP: one test for each row of the list of edge cases, with a file made here."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pi_heif
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from serve_app.vision.face import Pixels
from serve_app.vision.image import Picture, decode, encode
from tests.heic import heic
from tests.measures import colour_difference, euclidean_difference
from tests.pictures import ASTRONAUT, SIX_FACES, data_url, head, head_corner
from tests.profiles import inked, inks, through_inks, wide
from tests.service.client import Client
from tests.service.contract.shapes import SWAP, refused

SOURCE_FORMAT, TARGET_FORMAT = "人脸图片格式错误", "目标图片格式错误"
TARGET_SIZE = "目标图片大小超过最大限制"
FACE = ASTRONAUT.read_bytes()
PHOTO = np.ascontiguousarray(head(2)[:284, :246])
HEIGHT, WIDTH = PHOTO.shape[:2]
GREY = np.asarray(cv2.cvtColor(PHOTO, cv2.COLOR_BGR2GRAY), np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
LABEL = b"compositeWithTrainedAlgorithmicMedia"


def saved(pixels: NDArray[Any], format: str, **options: Any) -> bytes:
    """pixels: grey, BGR or BGRA."""
    out = io.BytesIO()
    image = Image.fromarray(pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]])
    image.save(out, format, **options)
    return out.getvalue()


def around() -> NDArray[np.bool_]:
    """(H, W): where the photograph must be as it was."""
    (left, top), (x1, y1, x2, y2) = head_corner(2), SIX_FACES[2]
    outside = np.ones((HEIGHT, WIDTH), np.bool_)
    outside[max(0, y1 - top - 12) : y2 - top + 12, max(0, x1 - left - 12) : x2 - left + 12] = False
    return outside


OUTSIDE = around()
assert OUTSIDE.mean() > 0.4


def body(target: bytes, source: bytes = FACE, **members: Any) -> dict[str, Any]:
    return {"sourceBase64": data_url(source), "targetBase64": data_url(target), **members}


def told_no(client: Client, target: bytes, description: str = TARGET_FORMAT, **members: Any) -> str:
    """Why a submit with that target was refused."""
    said = refused(client.request("POST", SWAP, json=body(target, **members)), 4, description)
    assert said["properties"]["field"] == "targetBase64" or members
    return str(said["properties"]["reason"])


def swapped(client: Client, target: bytes, **options: Any) -> tuple[bytes, Picture, dict[str, Any]]:
    """The result's file, the same decoded, and the task's properties. Something was swapped in it, and it is marked."""
    task = client.finished(client.submit(FACE, target, **({"options": options} if options else {})))
    data = client.picture(task)
    assert data.count(LABEL) == 1
    picture, before = decode(data), decode(target)
    assert picture.bgr.shape == before.bgr.shape
    assert (
        np.abs(picture.bgr.astype(int) - before.bgr)[~OUTSIDE[: len(picture.bgr)]].mean() > 2
        if OUTSIDE.shape == picture.bgr.shape[:2]
        else True
    )
    return data, picture, task["properties"]


def codes(properties: dict[str, Any], picture: str = "target") -> list[str]:
    notes = properties.get("notes", [])
    assert all(("(" in note["text"] and note["text"][0] > "\u2e80") or note["code"] in {"cmyk", "cmyk-plain", "alpha"} for note in notes)
    return [note["code"] for note in notes if note["picture"] == picture]


def same_outside(result: Picture, wanted: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(
        result.bgr[OUTSIDE], np.broadcast_to(wanted if wanted.ndim == 3 else wanted[..., None], PHOTO.shape)[OUTSIDE]
    )


def one_encoding_away(client: Client, target: bytes, result: Picture, before: Picture, quality: int = 95) -> None:
    """Outside the face the result is `before`, written once at that quality: every pixel of it, after both were read again.

    What WebP and AVIF make of a block depends on the blocks before it, so a new face changes pixels at any distance (docs/decisions/0032).
    `before` gets the same face first, out of a result without loss.
    """
    if result.format == "PNG":
        return same_outside(result, before.bgr)
    _, lossless, _ = swapped(client, target, output={"format": "png"})
    same = replace(before, bgr=np.where(OUTSIDE[..., None], before.bgr, lossless.bgr), sampling=decode(target).sampling)
    again = decode(encode(same, quality=quality, format=result.format))  # type: ignore[arg-type]
    np.testing.assert_array_equal(result.bgr[OUTSIDE], again.bgr[OUTSIDE])


def pillow(data: bytes) -> Pixels:
    """(H, W, 3) BGR, as another reader than ours reads it; of inks what littleCMS says by their profile."""
    image = pi_heif.open_heif(data).to_pillow() if data[4:12] == b"ftypheic" else Image.open(io.BytesIO(data))
    if image.mode == "CMYK":
        own, how = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"])), ImageCms.Intent.RELATIVE_COLORIMETRIC
        image = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), renderingIntent=how, outputMode="RGB") or image
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The larger of CIE76 and CIEDE2000, of two pictures in sRGB, RGB: the one is stricter with vivid colours, the other with greys."""
    return np.maximum(colour_difference(one, other), euclidean_difference(one, other))


def test_row_01_a_missing_or_empty_picture(client: Client) -> None:
    for name, description in (("source", "人脸图片不能为空"), ("target", "目标图片不能为空")):
        for value in (None, "", "  \n"):
            said = refused(client.request("POST", SWAP, json={**body(saved(PHOTO, "PNG")), f"{name}Base64": value}), 4, description)
            assert said["properties"]["field"] == f"{name}Base64"


def test_row_02_every_spelling_of_base64_and_none(client: Client) -> None:
    plain = base64.b64encode(saved(PHOTO, "PNG")).decode()
    folded = "\n".join(plain[at : at + 76] for at in range(0, len(plain), 76))
    for text in (plain, folded, plain.rstrip("="), plain.replace("+", "-").replace("/", "_"), f"data:image/gif;base64,{plain}"):
        assert client.request("POST", SWAP, json={**body(b"..."), "targetBase64": text}).json()["code"] == 1
    said = refused(client.request("POST", SWAP, json={**body(b"..."), "targetBase64": "@@@" + plain}), 4, TARGET_FORMAT)
    assert "not base64" in said["properties"]["reason"]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.7\n", "This is a PDF."),
        (b"<!DOCTYPE html><html></html>", "This is an HTML page."),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "This is an SVG."),
        (b"\x00\x00\x00\x18ftypisom" + bytes(40), "This is a video"),
        (saved(PHOTO, "JPEG2000"), "This is a JPEG 2000 picture."),
        (b"hello", "This is not a picture"),
    ],
)
def test_row_03_what_is_no_picture_is_named(client: Client, data: bytes, name: str) -> None:
    reason = told_no(client, data)
    assert name in reason
    assert "Send a JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF or BMP picture." in reason


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIC", "TIFF", "GIF", "BMP"])
def test_row_04_a_cut_file_is_refused(client: Client, format: str) -> None:
    data = heic(PHOTO) if format == "HEIC" else saved(PHOTO, format)
    for length in (len(data) - 1, len(data) // 2):
        assert "is truncated" in told_no(client, data[:length])


def test_row_05_too_many_bytes(client: Client) -> None:
    data = saved(PHOTO, "PNG")
    assert "10,485,760" in told_no(client, data + bytes(10 * 1024 * 1024), TARGET_SIZE)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif_bomb() -> bytes:
    data = saved(PHOTO[:20, :20], "GIF")
    return data[:6] + struct.pack("<HH", 60_000, 60_000) + data[10:]


def avif_bomb() -> bytes:
    data = saved(PHOTO[:20, :20], "AVIF")
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 30_000, 30_000) + data[at + 8 :]


@pytest.mark.parametrize("bomb", [png_bomb, gif_bomb, avif_bomb])
def test_row_06_a_bomb_is_refused_by_its_header(client: Client, bomb: Any) -> None:
    assert len(bomb()) < 2000
    assert "40,000,000" in told_no(client, bomb(), TARGET_SIZE)


@pytest.mark.parametrize(("width", "height", "word"), [(1, 1000, "at least 16"), (2000, 3, "at least 16"), (2000, 16, "too long and thin")])
def test_row_07_slivers_are_refused(client: Client, width: int, height: int, word: str) -> None:
    assert word in told_no(client, saved(np.zeros((height, width, 3), np.uint8), "PNG"))


def test_row_08_one_pixel_is_refused(client: Client) -> None:
    assert "at least 16" in told_no(client, saved(np.zeros((1, 1, 3), np.uint8), "GIF"))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_row_09_grey_comes_back_as_rgb(client: Client, format: str) -> None:
    data, result, _ = swapped(client, saved(GREY, format))
    assert Image.open(io.BytesIO(data)).mode == "RGB"
    if format == "JPEG":
        one_encoding_away(client, saved(GREY, format), result, Picture(pillow(saved(GREY, format)), None, "JPEG"))
    else:
        same_outside(result, GREY)


@pytest.mark.parametrize(
    ("format", "grey", "options"),
    [("PNG", False, {}), ("PNG", True, {}), ("WEBP", False, {"lossless": True, "exact": True}), ("TIFF", False, {})],
)
def test_row_10_alpha_is_the_targets(client: Client, format: str, grey: bool, options: dict[str, Any]) -> None:
    if grey:
        out = io.BytesIO()
        Image.fromarray(np.dstack([GREY, ALPHA])).save(out, format)
        target = out.getvalue()
    else:
        target = saved(np.dstack([PHOTO, ALPHA]), format, **options)
    _, result, _ = swapped(client, target)
    np.testing.assert_array_equal(result.alpha, ALPHA)
    same_outside(result, GREY if grey else PHOTO)


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "HEIC"])
def test_row_10_alpha_is_the_targets_where_colours_are_lossy(client: Client, format: str) -> None:
    target = heic(PHOTO, alpha=ALPHA) if format == "HEIC" else saved(np.dstack([PHOTO, ALPHA]), format)
    before = decode(target)
    _, result, _ = swapped(client, target)
    np.testing.assert_array_equal(result.alpha, before.alpha)
    if format == "HEIC":
        same_outside(result, before.bgr)
    else:
        one_encoding_away(client, target, result, before)


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_row_11_palettes_with_a_clear_colour(client: Client, format: str) -> None:
    image = Image.fromarray(PHOTO[..., ::-1]).quantize(128)
    out = io.BytesIO()
    image.save(out, format, transparency=5)
    theirs = np.asarray(Image.open(io.BytesIO(out.getvalue())).convert("RGBA"))
    assert 0 < (theirs[..., 3] == 0).mean() < 0.5
    data, result, properties = swapped(client, out.getvalue())
    assert data.startswith(b"\x89PNG")
    np.testing.assert_array_equal(result.alpha, theirs[..., 3])
    same_outside(result, theirs[..., 2::-1])
    assert codes(properties, "result") == (["output-format"] if format == "GIF" else [])
    assert properties.get("output") == ({"format": "png"} if format == "GIF" else None)


@pytest.mark.parametrize(
    ("kind", "output"), [("cmyk", "png"), ("cmyk", "jpeg"), ("cmyk", "webp"), ("cmyk", "avif"), ("ycck", "png"), ("tiff", "png")]
)
def test_row_12_inks_become_the_colours_of_their_profile(client: Client, kind: str, output: str) -> None:
    rgb = PHOTO[..., ::-1].astype(np.float64)
    black = 255 - rgb.max(axis=2, keepdims=True)
    cmyk = np.rint(np.dstack([(255 - rgb - black) * 255 / np.maximum(255 - black, 1), black]) * 0.9).astype(np.uint8)
    target = inked(cmyk, kind, inks())
    data, result, properties = swapped(client, target, output={"format": output})
    assert codes(properties) == ["cmyk"]
    if output == "png":
        assert apart(result.bgr[..., ::-1], through_inks(cmyk))[OUTSIDE].max() < 2  # the formula that the profile was sampled from
    one_encoding_away(client, target, result, Picture(pillow(target), None, "JPEG"))
    assert result.icc is None
    assert Image.open(io.BytesIO(data)).mode == "RGB"


@pytest.mark.parametrize(("kind", "start"), [("cmyk", b"\xff\xd8\xff"), ("tiff", b"\x89PN")])
def test_row_12_inks_come_back_in_a_format_like_their_own(client: Client, kind: str, start: bytes) -> None:
    cmyk = np.dstack([255 - PHOTO[..., ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)])
    assert swapped(client, inked(cmyk, kind, inks()))[0].startswith(start)


def test_row_12_inks_without_a_profile(client: Client) -> None:
    cmyk = np.dstack([255 - PHOTO[..., ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)])
    _, result, properties = swapped(client, inked(cmyk, "cmyk", None))
    assert codes(properties) == ["cmyk-plain"]
    assert np.quantile(colour_difference(result.bgr[..., ::-1], PHOTO[..., ::-1])[OUTSIDE], 0.95) < 2


@pytest.mark.parametrize("kind", [".png", ".tiff", "float"])
def test_row_13_sixteen_bits_are_rounded_and_said(client: Client, kind: str) -> None:
    if kind == "float":
        target = cv2.imencode(".tiff", PHOTO.astype(np.float32) / 255)[1].tobytes()
    else:
        target = cv2.imencode(kind, PHOTO.astype(np.uint16) * 257)[1].tobytes()
    _, result, properties = swapped(client, target)
    same_outside(result, PHOTO)
    assert codes(properties) == ["eight-bits"]


def managed(data: bytes) -> NDArray[np.uint8]:
    """What a colour-managed reader sees, in sRGB."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    own = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    to_srgb = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    return np.asarray(ImageCms.applyTransform(image, to_srgb), np.uint8)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIC", "TIFF"])
@pytest.mark.parametrize("output", [None, "png"])
def test_row_14_a_wide_gamut_looks_the_same(client: Client, format: str, output: str | None) -> None:
    target = heic(PHOTO, icc=wide()) if format == "HEIC" else saved(PHOTO, format, icc_profile=wide())
    data, result, _ = swapped(client, target, **({"output": {"format": output}} if output else {}))
    assert result.icc == wide()
    before = Picture(pillow(target), None, result.format, icc=wide())
    one_encoding_away(client, target, result, before)
    if result.format == "PNG":
        assert apart(managed(data), managed(encode(before)))[OUTSIDE].max() == 0


TURNED = [("JPEG", number) for number in range(1, 9)] + [
    (format, number) for format in ("PNG", "WEBP", "AVIF", "TIFF") for number in (3, 5, 6)
]


def stored(upright: Pixels, orientation: int) -> Pixels:
    """How a camera that writes that orientation stores a picture."""
    undone = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]
    turned = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2)}
    turned |= {6: np.rot90(upright, -1), 7: np.rot90(upright, -1)[::-1], 8: np.rot90(upright)}
    return np.ascontiguousarray(turned[undone])


@pytest.mark.parametrize(("format", "orientation"), TURNED)
def test_row_15_pictures_are_turned_once_and_their_place_is_dropped(client: Client, format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "a camera's maker"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    exif.get_ifd(0x8769)[0x927C] = b"a maker's note"
    options: dict[str, Any] = {"exif": exif, **({"quality": 98, "subsampling": 0} if format == "JPEG" else {})}
    target = saved(stored(PHOTO, orientation), format, **options)
    assert b"camera" in target
    data, result, _ = swapped(client, target)
    assert result.bgr.shape == PHOTO.shape
    assert np.abs(result.bgr.astype(int) - PHOTO)[OUTSIDE].mean() < 5
    assert b"camera" not in data
    assert b"maker" not in data
    with Image.open(io.BytesIO(data)) as image:
        assert not image.getexif()
        assert image.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(("turns", "mirror"), [(1, None), (3, None), (0, 1)])
def test_row_15_heic_is_turned_once(client: Client, turns: int, mirror: int | None) -> None:
    lying = np.rot90(PHOTO if mirror is None else PHOTO[:, ::-1], -turns)
    exif = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    data, result, properties = swapped(client, heic(np.ascontiguousarray(lying), turns=turns, mirror=mirror, exif=exif))
    assert data.startswith(b"\xff\xd8\xff")
    assert np.abs(result.bgr.astype(int) - PHOTO)[OUTSIDE].mean() < 2
    assert codes(properties, "result") == ["output-format"]
    assert properties["output"] == {"format": "jpeg", "quality": 95}


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_row_16_of_an_animation_the_first_frame_is_used_and_said(client: Client, format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    other = Image.fromarray(PHOTO[::-1, ::-1, ::-1].copy())
    target = saved(PHOTO, format, save_all=True, append_images=[other], **options)
    _, result, properties = swapped(client, target)
    assert codes(properties) == ["first-frame"]
    assert np.abs(result.bgr.astype(int) - PHOTO)[OUTSIDE].mean() < 6
    task = client.finished(client.submit(target, FACE))
    assert codes(task["properties"], "source") == ["first-frame"]


def test_row_17_avif_and_heic_are_read_and_jpeg_xl_is_named(client: Client) -> None:
    for target, start in ((saved(PHOTO, "AVIF"), b"ftypavif"), (heic(PHOTO), b"\xff\xd8\xff")):
        data, result, _ = swapped(client, target)
        assert start in data[:12]
        one_encoding_away(client, target, result, Picture(pillow(target), None, "JPEG"))
    assert "This is a JPEG XL picture." in told_no(client, b"\xff\x0a" + bytes(60))


def test_row_18_the_same_picture_twice_is_refused(client: Client) -> None:
    refused(client.request("POST", SWAP, json=body(FACE)), 4, "人脸图片和目标图片不能相同")


def test_row_41_what_cannot_be_written_is_refused_at_once(client: Client) -> None:
    wall = np.full((300, 17_000, 3), 200, np.uint8)
    said = refused(
        client.request("POST", SWAP, json=body(saved(wall, "PNG"), options={"output": {"format": "webp"}})),
        4,
        "校验错误: options.output.format",
    )
    assert "17000 x 300 pixels cannot be written as WebP: its sides end at 16,383. Ask for png." in said["properties"]["reason"]


@pytest.mark.parametrize(("name", "start"), [("jpeg", b"\xff\xd8\xff"), ("png", b"\x89PNG"), ("webp", b"RIFF"), ("avif", b"\x00\x00\x00")])
def test_the_result_has_the_format_that_was_asked_for(client: Client, name: str, start: bytes) -> None:
    target = saved(np.dstack([PHOTO, ALPHA]), "PNG")
    data, result, properties = swapped(client, target, output={"format": name, "quality": 90})
    assert data.startswith(start)
    assert properties["output"] == {"format": name, **({} if name == "png" else {"quality": 90})}
    assert codes(properties, "result") == (["alpha"] if name == "jpeg" else [])
    if name == "jpeg":
        assert result.alpha is None
    else:
        np.testing.assert_array_equal(result.alpha, ALPHA)
    one_encoding_away(client, target, result, Picture(PHOTO, ALPHA, "PNG"), 90)
    smaller, _, _ = swapped(client, target, output={"format": name, "quality": 50})
    assert len(smaller) < len(data) or name == "png"


@pytest.mark.parametrize(
    ("output", "field"),
    [
        ({"format": "gif"}, "options.output.format"),
        ({"quality": 49}, "options.output.quality"),
        ({"quality": 101}, "options.output.quality"),
        ({"dpi": 3}, "options.output.dpi"),
    ],
)
def test_an_output_that_cannot_be_is_refused(client: Client, output: dict[str, Any], field: str) -> None:
    refused(client.request("POST", SWAP, json=body(saved(PHOTO, "PNG"), options={"output": output})), 4, f"校验错误: {field}")
