"""Where a swapped face may show."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from serve_app.engines.weights import load_topology
from serve_app.vision import mask
from serve_app.vision.face import Pixels
from serve_app.vision.mesh import CHIN, FOREHEAD_TOP, LEFT_EYE, NOSE_TIP, RIGHT_EYE
from serve_app.vision.view import View
from tests.gallery import Person, gallery


def view_of(person: Person, pixels: Pixels | None = None) -> View:
    return View.of(person.square if pixels is None else pixels, person.mesh[:468].astype(np.float64), 128)


def value_at(field: np.ndarray, point: np.ndarray) -> float:
    return float(field[round(float(point[1])), round(float(point[0]))])


def test_the_outline_holds_the_face_and_nothing_else(builtin_weights: Path) -> None:
    for person in gallery(builtin_weights).six:
        view = view_of(person)
        outline = mask.outline(view, 0.06, 0.5)
        assert max(value_at(outline, view.points[cheek]) for cheek in (50, 280)) > 0.5
        face = mask.polygon(view.shape, [mask.hull(view.points, range(468))])
        assert outline[face == 0].max() < 0.1
        assert value_at(outline, view.points[FOREHEAD_TOP]) == 0


def test_a_turned_head_keeps_its_nose_and_one_in_profile_does_not(builtin_weights: Path) -> None:
    for person in gallery(builtin_weights).six:  # the fifth is turned by some 50 degrees
        view = view_of(person)
        assert value_at(mask.outline(view, 0.01, 0.5), view.points[1]) > 0.5
    face = load_topology(builtin_weights).vertices * np.array([12.0, -12.0, -12.0])
    for degrees, shown in ((0, True), (50, True), (75, False)):
        turn = np.deg2rad(degrees)
        turned = face @ np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]]) + [160, 160, 0]
        view = View.of(np.full((320, 320, 3), 128, np.uint8), turned, 128)
        assert (value_at(mask.outline(view, 0.01, 0.5), view.points[1]) > 0.5) == shown


def test_a_lower_forehead_gives_a_smaller_outline(builtin_weights: Path) -> None:
    view = view_of(gallery(builtin_weights).astronaut)
    sizes = [mask.outline(view, 0.06, forehead).sum() for forehead in (0.12, 0.4, 0.7)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.95 * sizes[2]


def test_a_face_that_the_border_cuts_goes_on_there(builtin_weights: Path) -> None:
    person = gallery(builtin_weights).six[0]
    middle = int(person.mesh[NOSE_TIP, 0])
    points = person.mesh[:468].astype(np.float64) - [middle, 0, 0]
    outline = mask.outline(View.of(np.ascontiguousarray(person.square[:, middle:]), points, 128), 0.06, 0.5)
    assert outline[:, 0].max() == 1


def test_hair_over_the_forehead_is_no_skin_but_eyes_and_brows_are_let_through(builtin_weights: Path) -> None:
    person = gallery(builtin_weights).six[3]
    fringe = person.square.copy()
    brow, top = person.mesh[9, :2], person.mesh[FOREHEAD_TOP, :2]
    middle = brow + 0.75 * (top - brow)
    cv2.circle(fringe, (int(middle[0]), int(middle[1])), 14, (20, 25, 40), -1)
    bare, covered = mask.not_skin(view_of(person)), mask.not_skin(view_of(person, fringe))
    view = view_of(person)
    spot = (middle + 0.5) * view.step - 0.5
    assert value_at(bare, spot) < 0.2
    assert value_at(covered, spot) > 0.8
    for point in (view.points[list(LEFT_EYE)].mean(0), view.points[list(RIGHT_EYE)].mean(0), view.points[CHIN], view.points[NOSE_TIP]):
        assert value_at(covered, point) < 0.1
    assert mask.bare_forehead(covered, view.points) < mask.bare_forehead(bare, view.points)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_has_no_hair(builtin_weights: Path, level: int) -> None:
    person = gallery(builtin_weights).six[0]
    found = mask.not_skin(view_of(person, np.full_like(person.square, level)))
    assert not found.any()


def test_repeated_border_lines_are_not_the_photograph() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    square = cv2.copyMakeBorder(photo, 7, 0, 3, 11, cv2.BORDER_REPLICATE)
    assert mask.photographed(np.asarray(square, np.uint8)) == (3, 7, 53, 47)
    assert mask.photographed(photo) == (0, 0, 50, 40)
    assert mask.photographed(np.full((20, 30, 3), 9, np.uint8)) == (0, 0, 30, 20)


def test_fading_towards_the_photographs_border() -> None:
    inf = float("inf")
    field = mask.within((60, 60), (-inf, 10, inf, inf), 8)
    assert (field[:11] == 0).all()
    assert (field[20:] == 1).all()
    assert (np.diff(field[:, 30]) >= 0).all()
    assert (mask.within((60, 60), (-inf, -inf, inf, inf), 8) == 1).all()
    right = mask.within((60, 60), (-inf, -inf, 50, inf), 8)
    assert (right[:, 49:] == 0).all()
    assert (right[:, :38] == 1).all()


def test_polygons_far_outside_leave_nothing_behind() -> None:
    far = np.array([[1e9, 1e9], [2e9, 1e9], [1e9, 2e9]])
    assert not mask.polygon((20, 20), [far]).any()
