"""A picture in which the face was swapped: over HTTP, on a real cluster, with the built-in models."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from serve_app.engines.weights import load_topology
from serve_app.vision.face import Pixels
from serve_app.vision.image import decode
from tests.gallery import finder, gallery
from tests.measures import IDENTITY_MARGIN, Frontal
from tests.pictures import ASTRONAUT, HANKS, SIX_FACES, SIX_PEOPLE, head, head_corner, jpeg, png, read
from tests.service.client import Client


@pytest.mark.parametrize("number", range(6))
def test_a_result_looks_more_like_its_source_than_like_the_other(client: Client, builtin_weights: Path, number: int) -> None:
    people, frontal = gallery(builtin_weights), Frontal(load_topology(builtin_weights))
    target, keypoints = head(number), people.six[number].keypoints - np.array(head_corner(number), np.float32)
    sources = {ASTRONAUT: people.astronaut, HANKS: people.hanks}
    for path, own in sources.items():
        result = decode(client.swap(path.read_bytes(), png(target))).bgr
        assert result.shape == target.shape
        (other,) = (who for who in sources.values() if who is not own)
        found = finder(builtin_weights).nearest(result, keypoints)
        lead, _ = frontal.lead(frontal.align(found), frontal.align(own), [frontal.align(other)])
        assert lead > IDENTITY_MARGIN


def changed(result: Pixels, target: Pixels) -> Pixels:
    """(H, W) uint8: 1 where any channel differs at all."""
    return np.asarray(np.any(result != target, axis=2), np.uint8)


@pytest.mark.parametrize("number", range(6))
def test_everything_but_the_face_is_the_targets_own(client: Client, number: int) -> None:
    target, (left, top) = head(number), head_corner(number)
    x1, y1, x2, y2 = SIX_FACES[number]
    difference = changed(decode(client.swap(ASTRONAUT.read_bytes(), png(target))).bgr, target)
    assert difference.mean() > 0.02, "nothing was swapped"
    around = 30  # pixels; the detector's box ends at the brows and the chin
    difference[max(0, y1 - top - around) : y2 - top + around, max(0, x1 - left - around) : x2 - left + around] = 0
    assert not difference.any()


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_the_result_has_the_targets_size_and_format(client: Client, kind: str) -> None:
    target = bytes(cv2.imencode(kind, head(4))[1])
    data = client.swap(ASTRONAUT.read_bytes(), target)
    assert {".jpg": data[:3] == b"\xff\xd8\xff", ".png": data[:4] == b"\x89PNG", ".webp": data[8:12] == b"WEBP"}[kind]
    result, original = decode(data).bgr, decode(target).bgr
    assert result.shape == original.shape
    corner = np.s_[-40:, :40]  # far from the face: at most one re-encoding away
    assert np.abs(result[corner].astype(int) - original[corner]).mean() < (0.5 if kind == ".png" else 3)


def test_of_several_faces_only_the_largest_is_swapped(client: Client) -> None:
    target = read(SIX_PEOPLE)
    difference = changed(decode(client.swap(ASTRONAUT.read_bytes(), png(target))).bgr, target)
    shares = [difference[y1:y2, x1:x2].mean() for x1, y1, x2, y2 in SIX_FACES]
    assert [share > 0.3 for share in shares] == [False, False, True, False, False, False]
    assert sum(share > 0 for share in shares) == 1


def test_sixteen_at_once_are_the_same_pictures_as_one_after_another(client: Client) -> None:
    jobs = [(path.read_bytes(), png(head(person))) for person in range(6) for path in (ASTRONAUT, HANKS)]
    jobs += [(jpeg(head(person)), ASTRONAUT.read_bytes()) for person in (0, 1, 3, 4)]
    assert len(jobs) == 16
    alone = [client.swap(*job) for job in jobs]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda job: client.swap(*job), jobs))
    assert [hashlib.sha256(data).hexdigest() for data in together] == [hashlib.sha256(data).hexdigest() for data in alone]


def test_an_exif_rotated_target_comes_out_upright(client: Client) -> None:
    upright = head(3)
    lying = Image.fromarray(cv2.cvtColor(np.rot90(upright), cv2.COLOR_BGR2RGB))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    file = io.BytesIO()
    lying.save(file, "PNG", exif=exif)
    result = decode(client.swap(ASTRONAUT.read_bytes(), file.getvalue()))
    assert result.bgr.shape == upright.shape
