"""Rows 19 to 38 of the edge cases on faces: over HTTP, each with a file made here, the answer that the row asks for."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from serve_app.vision.image import decode
from tests.pictures import ASTRONAUT, HANKS, SIX_FACES, SIX_PEOPLE, data_url, head, png, read
from tests.service.client import Client
from tests.service.faces import wrong
from tests.service.faces.painted import (
    BLUE,
    GREEN,
    GREY,
    PALE,
    RED,
    SHAPE,
    colour_of,
    failed,
    is_colour,
    one,
    painted,
    refused,
    row,
    swapped,
    untouched,
)
from tests.standins.painting import Spot

NOBODY = png(np.full((200, 300, 3), 90, np.uint8))


def test_row_19_no_face_in_the_source(client: Client) -> None:
    assert "source picture" in (why := failed(client, NOBODY, ASTRONAUT.read_bytes()))
    assert "no face was found" in why


@pytest.mark.parametrize("faces", ["largest", "all"])
def test_row_20_no_face_in_the_target(client: Client, faces: str) -> None:
    assert "target picture" in (why := failed(client, ASTRONAUT.read_bytes(), NOBODY, faces=faces))
    assert "no face was found" in why


def test_row_21_several_faces_in_the_source(colours: Client) -> None:
    people = [Spot((5, 10), size=1.6, colour=RED), Spot((18, 20), size=3.0, colour=GREEN), Spot((32, 10), size=1.6, colour=BLUE)]
    (target,) = spots = row(1)
    for options, colour in (({}, GREEN), ({"sourceFace": "largest"}, GREEN), ({"sourceFace": 0}, RED), ({"sourceFace": 2}, BLUE)):
        result, faces = swapped(colours, painted(people), painted(spots), **options)
        assert is_colour(result, target, colour), colour_of(result, target)
        assert faces["source"]["count"] == 3
    assert "there is no face 3; 3 found: 0 at [" in failed(colours, painted(people), painted(spots), sourceFace=3)


@pytest.mark.parametrize("faces", [[-1], [0, 0], [1.5], ["1"], [True], [], "some", 3, {"index": 1}])
def test_row_22_indexes_that_no_picture_has(colours: Client, faces: object) -> None:
    field, reason = refused(colours, options={"faces": faces})
    assert field == "options.faces"
    assert "must" in reason


def test_row_22_an_index_that_this_picture_does_not_have(colours: Client) -> None:
    assert "there is no face 2; 2 found: 0 at [" in failed(colours, one(RED), painted(row(2)), faces=[0, 2])


def test_row_23_fewer_sources_than_targets(colours: Client) -> None:
    mapped = [{"base64": data_url(one(RED)), "target": 0}]
    assert refused(colours, sourceBase64=None, options={"faces": [0, 1], "sources": mapped})[0] == "options.faces"
    assert refused(colours, options={"faces": [0], "sources": mapped})[0] == "options.faces"
    assert refused(colours, options={"sources": [*mapped, *mapped]})[0] == "options.sources"
    body = {"targetBase64": data_url(painted(row(2))), "options": {"faces": "all", "sources": mapped}}
    state = colours.finished(colours.request("POST", "/mj/insight-face/swap", json=body).json()["result"])
    assert "no source is there for face 1, and the picture has 2 found" in state["failReason"]


def test_row_24_tiny_faces(colours: Client) -> None:
    spots = [Spot((8, 20), size=1.0, colour=PALE), Spot((26, 20), size=3.0, colour=PALE)]
    target = painted(spots)
    result, faces = swapped(colours, one(RED), target, faces="all", minFace=40)
    assert untouched(result, target, spots[1:])
    assert is_colour(result, spots[1], RED)
    assert [face["swapped"] for face in faces["target"]["faces"]] == [False, True]
    assert "too small: 32 pixels, and 40 are asked for" in faces["target"]["faces"][0]["reason"]
    assert "0: too small" in failed(colours, one(RED), painted(spots[:1]), minFace=40)
    assert "too small" in failed(colours, one(RED), target, faces=[0], minFace=40)
    assert swapped(colours, one(RED), target, faces=[0])[1]["target"]["faces"][0]["notes"] == ["small"]


def test_row_25_a_face_that_fills_the_picture(client: Client, colours: Client) -> None:
    close = np.asarray(cv2.resize(read(HANKS)[6:112, 6:92], None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC), np.uint8)
    result, faces = swapped(client, ASTRONAUT.read_bytes(), png(close))
    left, top, right, bottom = faces["target"]["box"]
    assert (right - left) * (bottom - top) > 0.5 * close.shape[0] * close.shape[1]
    assert (result != close).any(axis=2).mean() > 0.3
    # Larger than the 640 pixel frame can tell: its mark is there for the frame of 128 alone.
    spot = Spot((2, 2), stride=16, size=2.0, side=128, colour=PALE)
    result, _ = swapped(colours, one(RED), painted([spot]))
    assert is_colour(result, spot, RED)


def test_row_26_a_face_that_the_border_cuts(client: Client) -> None:
    x1, _, x2, _ = (179, 61, 271, 178)
    cut = np.ascontiguousarray(read(ASTRONAUT)[:, (x1 + x2) // 2 - 10 :])
    result, _ = swapped(client, HANKS.read_bytes(), png(cut))
    changed = (result != cut).any(axis=2)
    assert changed[61:178, :40].mean() > 0.2
    assert not changed[:, 120:].any()
    brightness = [float(picture[changed].mean()) for picture in (result, cut)]
    assert brightness[0] > 0.6 * brightness[1], "no black comes in over the border"


@pytest.mark.parametrize(
    ("how", "word"),
    [(wrong.FAR_AWAY, "outside the picture"), (wrong.ONE_SPOT, "one spot"), (wrong.MIRRORED, "as in a face")],
    ids=["27", "29", "31"],
)
def test_rows_27_29_31_keypoints_that_are_no_faces(colours: Client, how: tuple[int, float], word: str) -> None:
    stride, angle = how
    odd = Spot((160 // stride, 160 // stride), stride=stride, angle=angle, size=64 / stride, colour=PALE)
    good = Spot((30, 30), size=2.0, colour=PALE)
    target = painted([odd, good])
    result, faces = swapped(colours, one(RED), target, faces="all")
    assert untouched(result, target, [good])
    assert is_colour(result, good, RED)
    assert [face["swapped"] for face in faces["target"]["faces"]] == [False, True]
    assert word in faces["target"]["faces"][0]["reason"]
    assert word in failed(colours, one(RED), target)  # it is the largest, so that it was meant


def test_row_28_pictures_on_their_side(client: Client, colours: Client) -> None:
    for quarter, person in ((1, 0), (2, 3), (3, 4)):
        lying = np.ascontiguousarray(np.rot90(head(person), quarter))
        result, faces = swapped(client, ASTRONAUT.read_bytes(), png(lying))
        assert faces["target"]["turned"] == 90 * quarter
        left, top, right, bottom = (round(value) for value in faces["target"]["box"])
        changed = (result != lying).any(axis=2)
        assert changed[top:bottom, left:right].mean() > 0.3
        changed[max(0, top - 40) : bottom + 40, max(0, left - 40) : right + 40] = False
        assert not changed.any()
    source = np.ascontiguousarray(np.rot90(head(0), 2))
    _, faces = swapped(client, png(source), HANKS.read_bytes())
    assert faces["source"]["turned"] == 180


def test_row_30_keypoints_that_are_no_numbers(colours: Client) -> None:
    stride, angle = wrong.NOT_A_NUMBER
    odd = Spot((5, 5), stride=stride, angle=angle, size=2.0, colour=PALE)
    assert "could not make sense of this picture" in failed(colours, one(RED), painted([odd, *row(1)]))


def test_row_32_a_face_that_is_turned_away(client: Client) -> None:
    _, faces = swapped(client, ASTRONAUT.read_bytes(), png(read(SIX_PEOPLE)), faces="all")
    notes = [face.get("notes", []) for face in faces["target"]["faces"]]
    confidence = [face["confidence"] for face in faces["target"]["faces"]]
    assert ["turned" in note for note in notes] == [False, False, False, False, True, False]
    # The first one's are open by 0.089 or 0.091, as the runtime has it that was faster at the start; 0.09 is the border.
    assert ["eyes shut" in note for note in notes[1:]] == [False, False, False, False, True]
    assert max(range(6), key=confidence.__getitem__) == 2
    assert all(0 < value <= 1 for value in confidence)


def test_row_33_overlapping_faces_in_the_order_of_their_indexes(colours: Client) -> None:
    spots = [Spot((14, 19), size=3.0, colour=PALE), Spot((18, 19), size=3.0, colour=PALE)]
    sources = [{"base64": data_url(one(RED)), "target": 0}, {"base64": data_url(one(BLUE)), "target": 1}]
    body = {"targetBase64": data_url(painted(spots)), "options": {"sources": sources}}
    pictures = []
    for order in (sources, sources[::-1]):
        body["options"] = {"sources": order}
        state = colours.finished(colours.request("POST", "/mj/insight-face/swap", json=body).json()["result"])
        pictures.append(decode(colours.picture(state)).bgr)
    assert np.array_equal(pictures[0], pictures[1]), "the order of the request says nothing"
    x = round((16.5) * 16)  # between the two middles
    assert np.abs(pictures[0][19 * 16 - 20, x].astype(int) - BLUE).max() < 40, "the later one lies above"


def test_row_34_one_face_found_twice_is_swapped_once(colours: Client) -> None:
    """Each mark is read by two anchors, and by the frames of two sizes; see also tests/vision/test_crowd.py."""
    (spot,) = spots = row(1, size=4.0)
    result, faces = swapped(colours, one(RED), painted(spots), faces="all")
    assert faces["target"]["count"] == len(faces["target"]["faces"]) == 1
    once, _ = swapped(colours, one(RED), painted(spots))
    assert np.array_equal(result, once)
    assert is_colour(result, spot, RED)


def test_row_35_a_crowd(colours: Client) -> None:
    spots = [Spot((2 + 3 * column, 2 + 3 * line), size=0.9, colour=PALE) for line in range(10) for column in range(12)]
    spots[60] = Spot(spots[60].cell, size=1.1, colour=PALE)
    target = painted(spots)
    crowd = colours.submit(one(RED), target, options={"faces": "all"})
    result, _ = swapped(colours, one(BLUE), painted(row(1)))  # a small task beside it
    assert is_colour(result, row(1)[0], BLUE)
    state = colours.finished(crowd)
    faces = state["properties"]["faces"]["target"]["faces"]
    assert len(faces) == 120
    assert sum(face["swapped"] for face in faces) == 100
    assert {face["reason"] for face in faces if not face["swapped"]} == {"beyond the 100 largest"}
    assert [face["index"] for face in faces] == list(range(120))
    middles = [(left + right) / 2 for left, _, right, _ in (face["box"] for face in faces)]
    assert all(before <= after for before, after in pairwise(middles))
    assert refused(colours, options={"faces": list(range(101))})[0] == "options.faces"


def test_row_36_what_is_hardly_a_face(client: Client) -> None:
    six = png(read(SIX_PEOPLE))
    _, faces = swapped(client, ASTRONAUT.read_bytes(), six, faces="all", minScore=0.9)
    for face in faces["target"]["faces"]:
        assert face["swapped"] == (face["score"] >= 0.9)
        assert face["swapped"] or "too unsure" in face["reason"]
    assert "too unsure" in failed(client, ASTRONAUT.read_bytes(), six, minScore=0.99)


def test_row_37_a_covered_face_is_swapped_or_said_to_be_covered(client: Client) -> None:
    covered = head(2)
    x1, y1, x2, y2 = SIX_FACES[2]
    bottom = covered.shape[0] - 70
    covered[bottom - (y2 - y1) // 3 : bottom, 70 : 70 + x2 - x1] = (200, 160, 90)
    state = client.finished(client.submit(ASTRONAUT.read_bytes(), png(covered)))
    assert state["status"] == "SUCCESS" or "covered" in state["failReason"] or "no face" in state["failReason"]


def test_row_38_a_small_source_is_noted(client: Client) -> None:
    small = np.asarray(cv2.resize(head(2), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), np.uint8)
    _, faces = swapped(client, png(small), ASTRONAUT.read_bytes())
    assert "small" in faces["source"]["notes"]
    assert faces["source"]["confidence"] < 0.4


def test_row_39_the_same_person_in_both(colours: Client) -> None:
    (spot,) = row(1, RED)
    result, _ = swapped(colours, one(RED), painted([spot]))
    assert is_colour(result, spot, RED)
    assert (result[:100] == GREY).all()
    assert result.shape == SHAPE
    assert GREEN != RED
