"""engines/facemesh.py: the mesh lies on the face, however the face lies in its square and whatever runs with it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from serve_app.engines.choice import Precision
from serve_app.engines.facemesh import FaceMeshEngine, Sighting, crop_of_keypoints
from serve_app.engines.protocol import Engine
from serve_app.engines.weights import FACEMESH, load_topology
from serve_app.vision.face import FaceError, FaceSquare, Floats, Pixels
from tests.engines.nets import builtin, mesher, squares
from tests.pictures import SIX_PEOPLE, read

IRISES, NOSE, MOUTH = (range(468, 473), range(473, 478)), 1, (61, 291)  # left and right as seen in the picture
EYES = (33, 263)


def mesh(face: FaceSquare) -> Floats:
    engine = mesher()
    features = engine.post(face, engine.run([engine.pre(face)])[0])
    assert features is not None
    assert features.shape == (478, 3)
    assert features.dtype == np.float32
    return features


def eye_distance(points: Floats) -> float:
    return float(np.linalg.norm(points[EYES[1], :2] - points[EYES[0], :2]))


def apart(a: Floats, b: Floats) -> float:
    """Mean distance of two meshes in the picture, as a share of the distance between the outer eye corners."""
    return float(np.linalg.norm(a[:, :2] - b[:, :2], axis=1).mean() / eye_distance(b))


def test_eyes_nose_and_mouth_are_where_the_detector_saw_them() -> None:
    # The detector is the coarser of the two: measured 0.10 on average, 0.28 at worst (a face turned far away).
    distances = []
    for face in squares():
        points = mesh(face)
        seen = [points[list(IRISES[0]), :2].mean(0), points[list(IRISES[1]), :2].mean(0), points[NOSE, :2], *points[list(MOUTH), :2]]
        distances.append(np.linalg.norm(np.array(seen) - face.keypoints, axis=1) / np.linalg.norm(face.keypoints[1] - face.keypoints[0]))
    assert np.mean(distances) < 0.15
    assert np.max(distances) < 0.4


def test_irises_lie_between_the_corners_of_their_eyes() -> None:
    for face in squares():
        points = mesh(face)
        for iris, (outer, inner) in zip(IRISES, ((33, 133), (263, 362)), strict=True):
            corners, centre = points[[outer, inner], :2], points[list(iris), :2].mean(0)
            assert np.linalg.norm(centre - corners.mean(0)) < 0.6 * np.linalg.norm(corners[1] - corners[0])


def test_the_nose_is_nearer_than_the_ears() -> None:
    for face in squares():
        points = mesh(face)
        assert points[NOSE, 2] < min(points[234, 2], points[454, 2])


def test_imprecise_keypoints_do_not_move_the_mesh() -> None:
    # Measured 0.003 to 0.014 on average, 0.025 at worst, for keypoints moved by a tenth of the eyes' distance.
    rng = np.random.default_rng(0)
    for face in squares():
        points = mesh(face)
        noise = rng.normal(0, 0.1 * eye_distance(points), (5, 2)).astype(np.float32)
        assert apart(mesh(FaceSquare(face.pixels, face.keypoints + noise)), points) < 0.04


def test_a_face_upside_down_has_the_same_mesh_upside_down() -> None:
    for face in squares():
        last = len(face.pixels) - 1
        turned = mesh(FaceSquare(np.ascontiguousarray(face.pixels[::-1, ::-1]), last - face.keypoints))
        np.testing.assert_allclose(last - turned[:, :2], mesh(face)[:, :2], atol=0.15)  # half a pixel would be a wrong convention


def test_a_mirrored_face_has_the_mirrored_mesh() -> None:
    mirror = load_topology(builtin()).mirror
    for face in squares():
        last = len(face.pixels) - 1
        keypoints = face.keypoints[[1, 0, 2, 4, 3]] * np.array([-1, 1], np.float32) + np.array([last, 0], np.float32)
        points = mesh(FaceSquare(np.ascontiguousarray(face.pixels[:, ::-1]), keypoints))[mirror]
        points[:, 0] = last - points[:, 0]
        assert apart(points, mesh(face)[:468]) < 0.05  # measured 0.006 to 0.023


def test_a_larger_picture_of_a_face_has_a_larger_mesh() -> None:
    for face in squares():
        side = 2 * len(face.pixels)
        large = np.asarray(cv2.resize(face.pixels, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
        points = mesh(FaceSquare(large, face.keypoints * 2))
        assert apart(((points + 0.5) / 2 - 0.5).astype(np.float32), mesh(face)) < 0.01
        np.testing.assert_allclose(points[:, 2] / 2, mesh(face)[:, 2], atol=0.05 * eye_distance(mesh(face)))


def test_upright_is_known_of_a_face_in_profile() -> None:
    profile = np.array([[100, 100], [103, 96], [90, 120], [100, 140], [102, 139]], np.float32)  # the eyes alone say 53 degrees
    assert abs(np.degrees(crop_of_keypoints(profile).angle)) < 5


def nothing() -> list[Pixels]:
    people, rng = read(SIX_PEOPLE), np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    return [
        np.ascontiguousarray(people[:150, :150]),
        np.ascontiguousarray(people[500:700, 100:300]),
        noise,
        np.full((200, 200, 3), 128, np.uint8),
    ]


@pytest.mark.parametrize("index", range(4), ids=["wall", "shirt", "noise", "grey"])
def test_what_is_no_face_is_refused(index: int) -> None:
    pixels = nothing()[index]
    keypoints = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32) * len(pixels)
    with pytest.raises(FaceError, match="face"):
        mesh(FaceSquare(pixels, keypoints))


def test_a_face_that_is_refused_does_not_touch_its_neighbours() -> None:
    engine, (first, second, *_) = mesher(), squares()
    bad = FaceSquare(nothing()[3], np.zeros((5, 2), np.float32))
    raws = engine.run([first, bad, second])
    for face, raw in ((first, raws[0]), (second, raws[2])):
        np.testing.assert_array_equal(engine.post(face, raw), mesh(face))
    with pytest.raises(FaceError):
        engine.post(bad, raws[1])


@pytest.mark.parametrize("presence", [np.nan, -3.0])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_answer_without_a_shape_is_refused(value: float, presence: float) -> None:
    with pytest.raises(FaceError, match="face"):
        mesher().post(squares()[0], (np.full((478, 3), value, np.float32), presence))


@pytest.mark.parametrize(
    ("pixels", "keypoints"),
    [
        (np.zeros((100, 90, 3), np.uint8), np.zeros((5, 2), np.float32)),
        (np.zeros((100, 100, 3), np.float32), np.zeros((5, 2), np.float32)),
        (np.zeros((100, 100, 3), np.uint8), np.zeros((4, 2), np.float32)),
        (np.zeros((100, 100, 3), np.uint8), np.full((5, 2), np.nan, np.float32)),
    ],
)
def test_what_is_no_square_with_keypoints_is_refused(pixels: Pixels, keypoints: Floats) -> None:
    with pytest.raises(ValueError, match="expected"):
        mesher().pre(FaceSquare(pixels, keypoints))


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_a_mesh_does_not_depend_on_what_ran_with_it(precision: Precision) -> None:
    engine, faces = mesher(precision), list(squares())
    alone = [engine.run([face])[0] for face in faces]
    assert_same(engine.run(faces), alone)
    order = [4, 2, 7, 5, 0, 3, 6, 1]
    assert_same(engine.run([faces[i] for i in order]), [alone[i] for i in order])
    with ThreadPoolExecutor(4) as threads:
        assert_same([raw for part in threads.map(lambda face: engine.run([face]), faces * 3) for raw in part], alone * 3)


def assert_same(raws: Sequence[Sighting], expected: Sequence[Sighting]) -> None:
    for (points, presence), (other, other_presence) in zip(raws, expected, strict=True):
        assert np.array_equal(points, other)
        assert presence == other_presence


def test_padded_buckets_give_the_same_meshes() -> None:
    engine = FaceMeshEngine(builtin() / FACEMESH, buckets=(2, 4))
    for face, (points, _) in zip(squares()[:3], engine.run(squares()[:3]), strict=True):
        np.testing.assert_allclose(points, mesh(face), atol=0.01)


def test_fast_and_exact_agree_to_a_fraction_of_a_pixel() -> None:
    fast, exact = mesher("fast"), mesher("exact")
    for (points, presence), (other, other_presence) in zip(fast.run(squares()), exact.run(squares()), strict=True):
        np.testing.assert_allclose(points, other, atol=0.1)  # measured 0.03: OpenCV cuts the second crop in steps of 1/32 px
        assert abs(presence - other_presence) < 0.05


def test_meshes_are_never_made_in_half_precision() -> None:
    engine: Engine[FaceSquare, FaceSquare, Sighting, Floats] = mesher("fast")
    engine.warm_up()
    assert engine.info()["precision"] == "f32"
    assert "bf16" not in engine.info()["measured"]
