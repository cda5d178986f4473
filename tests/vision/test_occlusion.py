"""What lies in front of a face, on real faces with things painted before them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from serve_app.vision.face import Floats, Pixels
from serve_app.vision.mask import hull, polygon
from serve_app.vision.mesh import CHIN, EYES, LIPS, NOSE_TIP, yaw
from serve_app.vision.occlusion import cleared, covering
from serve_app.vision.view import View
from tests.gallery import Gallery, Person, gallery
from tests.things import BLACK, THINGS, glasses


@pytest.fixture(scope="module")
def people(builtin_weights: Path) -> Gallery:
    return gallery(builtin_weights)


def view_of(person: Person, pixels: Pixels | None = None) -> View:
    return View.of(person.square if pixels is None else pixels, person.mesh[:468].astype(np.float64), 128)


def painted(person: Person, thing: str) -> tuple[View, Floats]:
    """The view, and how much of its pixels is the thing."""
    pixels, shown = THINGS[thing](person)
    view = view_of(person, pixels)
    return view, np.asarray(cv2.resize(shown, view.shape[::-1], interpolation=cv2.INTER_AREA), np.float32)


def face_of(view: View) -> np.ndarray:
    return polygon(view.shape, [hull(view.points, range(468))]) > 0.5


def test_bare_faces_have_nothing_before_them(people: Gallery) -> None:
    """But hair at the border: the astronaut's fringe, and the fifth person's hair behind the temple."""
    for person in (people.astronaut, people.hanks, *people.six):
        view = view_of(person)
        found = covering(view)
        assert found[face_of(view)].mean() < 0.1
        middle = [*EYES[0].lids, *EYES[1].lids, *LIPS, NOSE_TIP, CHIN, 50, 280, 151]
        x, y = np.round(view.points[middle]).astype(int).T
        assert found[y, x].max() < 0.05


@pytest.mark.parametrize("scale", [0.9, 0.8, 0.7, 0.6, 0.5])
def test_a_smaller_picture_is_not_taken_for_a_sharper_one(people: Gallery, scale: float) -> None:
    """Of heads turned by more than 30 degrees a brow may be: docs/decisions/0030."""
    for person in (people.astronaut, people.hanks, *people.six):
        if abs(yaw(person.mesh.astype(np.float64))) < 30:
            half = np.array([0.5, 0.5, 0.0])
            mesh = (person.mesh[:468] + half) * scale - half
            pixels = np.asarray(cv2.resize(person.square, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
            view = View.of(pixels, mesh, 128)
            middle = polygon(view.shape, [hull(view.points, (33, 263, 70, 300, 61, 291, 50, 280, CHIN))]) > 0.5
            assert covering(view)[middle].mean() < 0.01  # without regard to the size: up to 0.38


# What does less well is in docs/decisions/0030.
TOLD = sorted(set(THINGS) - {"silver glasses", "yellow stick", "white stick", "white glove", "blue mask", "white mask"})


@pytest.mark.parametrize("thing", TOLD)
def test_things_are_found_and_little_else(people: Gallery, thing: str) -> None:
    for person in (people.astronaut, people.six[3]):
        view, shown = painted(person, thing)
        face, found = face_of(view), covering(view)
        assert found[face & (shown > 0.9)].mean() > 0.8  # measured: 0.85 to 1
        beside = face & (cv2.dilate(shown, np.ones((7, 7), np.uint8)) < 0.02)
        assert (found - covering(view_of(person)))[beside].mean() < 0.02


def test_eyes_behind_clear_glasses_are_let_through_and_behind_dark_ones_not(people: Gallery) -> None:
    person = people.astronaut
    for lenses, let_through in ((0.0, True), (0.92, False)):
        view = view_of(person, glasses(person, BLACK, lenses=lenses)[0])
        found = covering(view)
        for eye in EYES:
            x, y = np.round(view.points[list(eye.lids)].mean(0)).astype(int)
            assert (found[y, x] < 0.05) == let_through


def test_shade_is_no_thing(people: Gallery) -> None:
    """A cheek falling into the dark, as under a side light, however deep."""
    for person in (people.astronaut, people.six[2], people.six[5]):
        ramp = np.interp(np.arange(person.square.shape[1]), person.mesh[[234, 454], 0], (0.25, 1.0))
        shaded = (person.square * ramp[None, :, None]).astype(np.uint8)
        view = view_of(person, shaded)
        assert covering(view)[face_of(view)].mean() < 0.1


def test_hard_shade_of_the_sun_is_no_thing(people: Gallery) -> None:
    """Half of the face, and the shade of the nose on a cheek: a third of the light is left, bluer, with a border of two pixels."""
    half = (10, 9, 6, 195, 4, 2, 0, 17, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
    for person in (people.astronaut, *people.six):
        for outline in (half, (6, 195, 4, 2, 205, 50, 101)):
            shade = polygon(person.square.shape[:2], [person.mesh[list(outline), :2].astype(np.float64)])
            shade = np.asarray(cv2.GaussianBlur(shade, (0, 0), 0.6), np.float32)[..., None]
            linear = (person.square / 255) ** 2.2 * (1 + shade * (np.array([0.45, 0.37, 0.35]) - 1))
            view = view_of(person, np.round(linear ** (1 / 2.2) * 255).astype(np.uint8))
            found = (covering(view) - covering(view_of(person))).clip(0)
            assert found[face_of(view)].mean() < 0.08


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_has_nothing_before_it(people: Gallery, level: int) -> None:
    person = people.six[0]
    assert not covering(view_of(person, np.full_like(person.square, level))).any()


def test_what_is_found_everywhere_is_the_skin_itself(people: Gallery) -> None:
    person = people.six[0]
    noise = np.random.default_rng(0).integers(0, 256, person.square.shape, np.uint8)
    view = view_of(person, noise)
    assert covering(view)[face_of(view)].mean() < 0.65


def test_skin_takes_the_place_of_things(people: Gallery) -> None:
    person = people.astronaut
    pixels, shown = THINGS["black glasses"](person)
    view = view_of(person, pixels)
    covered = np.asarray(cv2.dilate(covering(view), np.ones((5, 5), np.uint8)), np.float32)
    bare, seen = cleared(pixels, view, covered)
    rims = (shown > 0.9) & (polygon(shown.shape, [hull(person.mesh[:468, :2].astype(np.float64), range(468))]) > 0.5)
    assert pixels[rims].mean() < 60
    assert np.percentile(bare[rims].max(1), 20) > 110
    np.testing.assert_array_equal(bare[:20], pixels[:20])
    assert seen.shape == view.shape
    assert np.abs(seen.bgr[covered > 0.99] - view.bgr[covered > 0.99]).mean() > 0.2
