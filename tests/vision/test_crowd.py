"""Faces of one picture: each once, numbered as the page says, also in a picture that lies on its side."""

from __future__ import annotations

import numpy as np
import pytest

from serve_app.vision.crowd import NOBODY, gather, turned, turned_back
from serve_app.vision.face import Faces

POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


def faces(*boxes: tuple[float, float, float, float], scores: tuple[float, ...] = ()) -> Faces:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    points = corners[:, None, :2] + POINTS * (corners[:, None, 2:] - corners[:, None, :2])
    return Faces(corners, np.array(scores or np.linspace(0.9, 0.6, len(boxes)), np.float32), points.astype(np.float32))


def test_numbers_go_left_to_right_then_down() -> None:
    crowd = gather(faces((200, 0, 240, 50), (0, 300, 40, 350), (100, 0, 140, 50), (0, 0, 40, 50)))
    assert crowd.faces.boxes[:, :2].tolist() == [[0, 0], [0, 300], [100, 0], [200, 0]]
    assert np.allclose(crowd.faces.scores, [0.6, 0.8, 0.7, 0.9])


def test_the_largest_is_what_it_was() -> None:
    found = faces((0, 0, 40, 50), (100, 0, 150, 60), (200, 0, 250, 60))
    crowd = gather(found)
    assert crowd.by_size() == [1, 2, 0]
    assert (crowd.faces.boxes[crowd.by_size()[0]] == found.boxes[found.largest()]).all()


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        ((103, 100, 199, 222), 1),  # a little off
        ((88, 76, 212, 250), 1),  # with the hair
        ((150, 100, 250, 220), 2),  # a neighbour that is half hidden
        ((140, 160, 180, 210), 2),  # a small face before it
        ((300, 100, 400, 220), 2),
    ],
)
def test_one_face_found_twice_counts_once(other: tuple[float, float, float, float], kept: int) -> None:
    for scores in ((0.9, 0.7), (0.7, 0.9)):
        assert len(gather(faces((100, 100, 200, 220), other, scores=scores))) == kept


def test_what_is_no_number_is_no_face() -> None:
    found = faces((0, 0, 40, 50), (100, 0, 140, 50))
    found.keypoints[0, 2, 1] = np.nan
    assert gather(found).faces.boxes[:, 0].tolist() == [100]
    assert len(gather(NOBODY)) == 0
    assert not gather(NOBODY).plausible


def test_points_that_are_no_faces_are_not_plausible() -> None:
    found = faces((0, 0, 40, 50))
    assert gather(found).plausible
    assert not gather(Faces(found.boxes, found.scores, found.keypoints[:, [1, 0, 2, 4, 3]])).plausible
    assert not gather(Faces(found.boxes, found.scores, np.zeros_like(found.keypoints))).plausible


def test_what_is_found_in_a_turned_picture_lies_where_it_is() -> None:
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[20, 70] = 255
    for degrees, pixels in turned(picture):
        (y,), (x,) = np.nonzero(pixels[..., 0])
        point = np.array([[[x, y]] * 5], np.float32)
        box = np.array([[x - 3, y - 2, x + 3, y + 2]], np.float32)
        back = turned_back(Faces(box, np.ones(1, np.float32), point), degrees, picture.shape)
        assert back.keypoints.tolist() == [[[70, 20]] * 5]
        wide = 2 if degrees != 180 else 3
        assert back.boxes.tolist() == [[70 - wide, 20 - (5 - wide), 70 + wide, 20 + (5 - wide)]]
