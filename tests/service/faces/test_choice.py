"""Who gets whose face: mappings, a person by a reference picture, and the faces that people choose from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from serve_app.engines.weights import load_topology
from serve_app.vision.face import Pixels
from serve_app.vision.image import decode
from tests.gallery import Gallery, finder, gallery
from tests.measures import Frontal
from tests.pictures import ASTRONAUT, HANKS, SIX_FACES, SIX_PEOPLE, data_url, head, png, read
from tests.service.client import Client
from tests.service.faces.painted import BLUE, GREEN, PALE, RED, is_colour, one, painted, refused, row, swapped, untouched
from tests.standins.painting import Spot

DETECT = "/mj/insight-face/detect"


def mapped(client: Client, target: bytes, sources: list[dict[str, Any]], **members: Any) -> tuple[Pixels, dict[str, Any]]:
    body = {"targetBase64": data_url(target), **members, "options": {"sources": sources, **members.get("options", {})}}
    answer = client.request("POST", "/mj/insight-face/swap", json=body)
    assert answer.json()["code"] == 1, answer.text
    state = client.finished(answer.json()["result"])
    return decode(client.picture(state)).bgr, dict(state["properties"]["faces"])


def test_three_sources_go_where_they_were_asked(colours: Client) -> None:
    spots, wanted = row(6), (BLUE, RED, GREEN, RED, BLUE, GREEN)
    target = painted(spots)
    sources = [
        {"base64": data_url(one(colour)), "target": [index for index, other in enumerate(wanted) if other == colour]}
        for colour in (RED, GREEN, BLUE)
    ]
    result, faces = mapped(colours, target, sources)
    assert untouched(result, target, spots)
    assert all(is_colour(result, spot, colour) for spot, colour in zip(spots, wanted, strict=True))
    shown = faces["target"]["faces"]
    assert [face["source"]["picture"] for face in shown] == [(RED, GREEN, BLUE).index(colour) for colour in wanted]
    assert all(face["swapped"] for face in shown)


def test_a_source_of_its_own_goes_on_the_faces_that_are_left(colours: Client) -> None:
    spots = row(4)
    target, people = painted(spots), painted([Spot((5, 10), size=1.6, colour=GREEN), Spot((18, 20), size=3.0, colour=BLUE)])
    sources = [{"base64": data_url(people), "face": 0, "target": 1}]
    result, faces = mapped(colours, target, sources, sourceBase64=data_url(one(RED)), options={"faces": [1, 3]})
    assert untouched(result, target, [spots[1], spots[3]])
    assert is_colour(result, spots[1], GREEN)
    assert is_colour(result, spots[3], RED)
    assert [face["swapped"] for face in faces["target"]["faces"]] == [False, True, False, True]
    assert faces["target"]["faces"][0]["reason"] == "not asked for"
    result, _ = mapped(colours, target, sources, sourceBase64=data_url(one(RED)), options={"faces": "all"})
    assert [is_colour(result, spot, colour) for spot, colour in zip(spots, (RED, GREEN, RED, RED), strict=True)] == [True] * 4


def test_people_of_one_picture_are_exchanged(colours: Client) -> None:
    spots = [row(2)[0], Spot(row(2)[1].cell, size=1.6, colour=GREEN)]
    target = painted(spots)
    result, _ = mapped(colours, target, [{"base64": data_url(target), "face": at, "target": 1 - at} for at in (0, 1)])
    assert is_colour(result, spots[0], GREEN)
    assert is_colour(result, spots[1], PALE)


def test_the_person_of_a_reference_picture(colours: Client) -> None:
    spots = [Spot(spot.cell, size=1.6, colour=colour) for spot, colour in zip(row(3), (GREEN, PALE, BLUE), strict=True)]
    for index, colour in ((0, (70, 180, 80)), (2, (200, 90, 70))):  # not quite the same picture of them
        result, faces = swapped(colours, one(RED), painted(spots), faces="nearest", reference={"base64": data_url(one(colour))})
        assert [face["swapped"] for face in faces["target"]["faces"]] == [at == index for at in range(3)]
        assert is_colour(result, spots[index], RED)


def test_the_built_in_family_does_not_compare_people(client: Client) -> None:
    field, reason = refused(client, options={"faces": "nearest", "reference": {"base64": data_url(one(RED))}})
    assert (field, "recogniser" in reason) == ("options.faces", True)


@pytest.fixture(scope="module")
def people(builtin_weights: Path) -> Gallery:
    return gallery(builtin_weights)


def test_three_people_go_where_they_were_asked(client: Client, builtin_weights: Path, people: Gallery) -> None:
    frontal, target = Frontal(load_topology(builtin_weights)), read(SIX_PEOPLE)
    pictures = {0: ASTRONAUT.read_bytes(), 1: HANKS.read_bytes(), 2: png(head(2))}
    who = [frontal.align(one) for one in (people.astronaut, people.hanks, people.six[2])]
    wanted = {0: 0, 1: 1, 2: 0, 3: 2, 4: 1, 5: 0}
    sources = [{"base64": data_url(data), "target": [face for face, own in wanted.items() if own == at]} for at, data in pictures.items()]
    result, faces = mapped(client, png(target), sources)
    assert [face["swapped"] for face in faces["target"]["faces"]] == [True] * 6
    for index, own in wanted.items():
        found = finder(builtin_weights).nearest(result, people.six[index].keypoints)
        lead, _ = frontal.lead(frontal.align(found), who[own], [other for at, other in enumerate(who) if at != own])
        assert lead > 0, index
    same = (result == target).all(axis=2)
    for x1, y1, x2, y2 in SIX_FACES:
        same[max(0, y1 - 30) : y2 + 30, max(0, x1 - 30) : x2 + 30] = True
    assert same.all()


def test_all_of_them_are_each_of_them(client: Client) -> None:
    six, faces = png(read(SIX_PEOPLE)), []
    together, _ = swapped(client, ASTRONAUT.read_bytes(), six, faces="all")
    for index, (x1, y1, x2, y2) in enumerate(SIX_FACES[:2]):
        alone, found = swapped(client, ASTRONAUT.read_bytes(), six, faces=[index])
        faces.append(found["target"]["box"])
        assert np.array_equal(alone[y1:y2, x1:x2], together[y1:y2, x1:x2])
    assert np.abs(np.array(faces) - SIX_FACES[:2]).max() < 2


def test_the_faces_to_choose_from_are_those_of_a_swap(client: Client) -> None:
    six = png(read(SIX_PEOPLE))
    answer = client.request("POST", DETECT, json={"targetBase64": data_url(six)})
    body = answer.json()
    assert (answer.status_code, body["code"], body["description"], body["result"]) == (200, 1, "检测成功", None)
    found = body["properties"]
    assert (found["width"], found["height"], found["count"], found["turned"]) == (*read(SIX_PEOPLE).shape[1::-1], 6, 0)
    assert np.abs(np.array([face["box"] for face in found["faces"]]) - SIX_FACES).max() < 2
    for face in found["faces"]:
        left, top, right, bottom = face["box"]
        points = np.array(face["keypoints"])
        assert ((points > (left, top)) & (points < (right, bottom))).all()
        assert 0 < face["confidence"] <= 1
    _, faces = swapped(client, ASTRONAUT.read_bytes(), six, faces=[4])
    names = ("index", "box", "score")
    assert [{name: face[name] for name in names} for face in faces["target"]["faces"]] == [
        {name: face[name] for name in names} for face in found["faces"]
    ]
    assert faces["target"]["index"] == 4


def test_a_picture_without_faces_and_what_is_no_picture(client: Client) -> None:
    grey = bytes(cv2.imencode(".png", np.full((64, 64, 3), 90, np.uint8))[1])
    body = client.request("POST", DETECT, json={"targetBase64": data_url(grey)}).json()
    assert (body["code"], body["properties"]["count"], body["properties"]["faces"]) == (1, 0, [])
    cut = png(read(ASTRONAUT))[:5000]
    for members in ({}, {"targetBase64": "nonsense"}, {"targetBase64": data_url(cut)}):
        body = client.request("POST", DETECT, json=members).json()
        assert (body["code"], body["properties"]["field"]) == (4, "targetBase64")
    assert Client(client.base).request("POST", DETECT, json={"targetBase64": data_url(grey)}).status_code == 401


def test_what_the_options_say_anyway_changes_no_byte(client: Client) -> None:
    target = png(head(3))
    options = {"faces": "largest", "sourceFace": 0}
    plain, said = (client.swap(ASTRONAUT.read_bytes(), target, **members) for members in ({}, {"options": options}))
    assert hashlib.sha256(plain).digest() == hashlib.sha256(said).digest()
