"""The stand-ins do, in the library's own classes, what the tests that use them take for granted."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from serve_app.vision.face import Pixels
from tests.pictures import SIX_PEOPLE, read
from tests.standins import Kind, Standins, build, nets
from tests.standins import functional as functional_nets
from tests.standins.functional import colour_of
from tests.standins.library import Library, its_warnings, load
from tests.standins.painting import Spot, middle, plant, points, reach, scatter

KINDS: tuple[Kind, ...] = ("functional", "narrow")
PAIR = [(128, 128), (640, 640)]


@pytest.fixture(scope="module", params=KINDS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Standins:
    return build(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def library(files: Standins) -> Library:
    return load(files)


@pytest.fixture(scope="module")
def functional(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return load(build(tmp_path_factory.mktemp("functional"), "functional"))


def background(random: np.random.Generator, shape: tuple[int, int, int], photo: bool) -> Pixels:
    if photo:
        return np.asarray(cv2.resize(read(SIX_PEOPLE), shape[1::-1]), np.uint8)
    return random.integers(0, 256, shape, np.uint8)


def detected(library: Library, picture: Pixels, sizes: list[tuple[int, int]]) -> tuple[Any, Any]:
    boxes, keypoints = library.detector.detect(picture, input_size=sizes)
    return boxes, keypoints


@pytest.mark.parametrize("sizes", [PAIR[1:], PAIR], ids=["640", "pair"])
@pytest.mark.parametrize("seed", range(6))
def test_the_detector_finds_exactly_the_planted_faces(library: Library, sizes: list[tuple[int, int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(160, 1400, 2))
    shape = (height, width, 3)
    side = 128 if len(sizes) == 2 and seed % 2 else 640
    spots = scatter(random, shape, (0, 1, 3, 8, 20, 40)[seed], side=side)
    boxes, keypoints = detected(library, plant(background(random, shape, seed % 3 == 1), spots), sizes)
    assert len(boxes) == len(spots)
    for spot in spots:
        far = np.abs(keypoints - points(spot, shape)).max((1, 2)) / reach(spot, shape)
        assert far.min() < 0.3
        box = boxes[far.argmin(), :4]
        assert np.abs((box[:2] + box[2:]) / 2 - middle(spot, shape)).max() < 0.3 * reach(spot, shape)


def test_a_photograph_without_marks_has_no_faces(library: Library) -> None:
    assert len(detected(library, read(SIX_PEOPLE), PAIR)[0]) == 0


def test_scores_stay_away_from_the_threshold(library: Library) -> None:
    random = np.random.default_rng(5)
    spots = scatter(random, (900, 1200, 3), 20)
    scores = detected(library, plant(background(random, (900, 1200, 3), False), spots), PAIR[1:])[0][:, 4]
    assert len(scores) == len(spots)
    assert scores.min() > 0.52
    assert 1 < len(set(scores.tolist())) <= len(scores)


def test_a_face_may_reach_beyond_the_picture(library: Library) -> None:
    shape = (480, 640, 3)
    boxes, keypoints = detected(library, plant(np.full(shape, 90, np.uint8), [Spot((0, 0), 32, 5.0)]), PAIR[1:])
    assert len(boxes) == 1
    assert boxes[0, 0] < -100
    assert (keypoints[0] < 0).any()


def test_small_marks_for_the_small_frame_are_not_read_in_the_large_one(library: Library) -> None:
    shape = (700, 900, 3)
    picture = plant(np.full(shape, 90, np.uint8), [Spot((6, 5), 8, 3.0, side=128)])
    assert len(detected(library, picture, PAIR[:1])[0]) == 1
    assert len(detected(library, picture, PAIR[1:])[0]) == 0


@pytest.mark.parametrize("make", [functional_nets.detector, partial(nets.detector, 8)], ids=KINDS)
def test_the_export_with_a_batch_axis_finds_the_same(make: Callable[..., onnx.ModelProto], tmp_path: Path) -> None:
    from insightface.model_zoo import SCRFD

    shape = (500, 640, 3)
    picture = plant(np.full(shape, 90, np.uint8), scatter(np.random.default_rng(1), shape, 5))
    found = []
    for batched in (False, True):
        onnx.save(make(batched=batched), str(tmp_path / "detector.onnx"))
        session = onnxruntime.InferenceSession(str(tmp_path / "detector.onnx"), providers=["CPUExecutionProvider"])
        detector = SCRFD(str(tmp_path / "detector.onnx"), session)
        assert detector.batched == batched
        found.append(detector.detect(picture, input_size=PAIR[1:]))
    assert len(found[0][0]) == 5
    assert all(np.array_equal(legacy, new) for legacy, new in zip(*found, strict=True))


def test_files_are_made_once(files: Standins, library: Library) -> None:
    before = [path.stat().st_mtime_ns for path in (files.detector, files.recogniser, files.swapper)]
    kind: Kind = "narrow" if "narrow" in str(files.detector) else "functional"
    assert build(files.detector.parent, kind) == files
    assert [path.stat().st_mtime_ns for path in (files.detector, files.recogniser, files.swapper)] == before


def test_files_of_another_kind_are_made_anew(tmp_path: Path) -> None:
    small = build(tmp_path, "functional").detector.stat().st_size
    assert build(tmp_path, "narrow").detector.stat().st_size > 10 * small


def described(path: Path) -> tuple[dict[str, list[int | str]], dict[str, list[int | str]]]:
    graph = onnx.load(str(path)).graph
    first, second = (
        {port.name: [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim] for port in ports}
        for ports in (graph.input, graph.output)
    )
    return first, second


def test_signatures_are_those_of_the_real_files(files: Standins) -> None:
    inputs, outputs = described(files.detector)
    assert inputs == {"input.1": [1, 3, "?", "?"]}
    assert list(outputs) == ["448", "471", "494", "451", "474", "497", "454", "477", "500"]
    assert [shape[0] for shape in outputs.values()] == [12800, 3200, 800] * 3
    assert described(files.recogniser) == ({"input.1": ["None", 3, 112, 112]}, {"683": [1, 512]})
    assert described(files.swapper) == ({"target": [1, 3, 128, 128], "source": [1, 512]}, {"output": [1, 3, 128, 128]})
    graph = onnx.load(str(files.swapper)).graph
    assert graph.initializer[-1].name == "buff2fs"
    assert not any("buff2fs" in node.input for node in graph.node)
    for path in (files.detector, files.recogniser, files.swapper):
        onnx.checker.check_model(str(path), full_check=False)


def test_the_recogniser_tells_faces_apart(library: Library) -> None:
    random = np.random.default_rng(3)
    crops = [np.full((112, 112, 3), random.integers(0, 200, 3), np.uint8) for _ in range(4)]
    features = library.recogniser.get_feat(crops)
    assert features.shape == (4, 512)
    assert np.isfinite(features).all()
    assert len(np.unique(features.round(3), axis=0)) == 4


def test_functional_stand_ins_say_who_was_swapped_with_whom(functional: Library) -> None:
    from insightface.app.common import Face

    shape = (720, 960, 3)
    people = [Spot((8, 9), 16, 3.0, 0.3, (30, 160, 90)), Spot((30, 10), 16, 2.0, -0.8, (170, 60, 40))]
    guest = Spot((10, 10), 32, 3.0, 2.5, (90, 40, 180))
    target, source = plant(np.full(shape, 110, np.uint8), people), plant(np.full((640, 640, 3), 50, np.uint8), [guest])
    with its_warnings():
        faces = [[Face(kps=points) for points in detected(functional, picture, PAIR[1:])[1]] for picture in (source, target)]
        assert functional.recogniser.get(source, faces[0][0]).shape == (512,)
        assert np.abs(np.subtract(colour_of(faces[0][0].embedding), guest.colour)).max() < 1
        first = min(faces[1], key=lambda face: math.dist(face.kps.mean(0), middle(people[0], shape)))
        result = functional.swapper.get(target, first, faces[0][0])
    for spot, colour in ((people[0], guest.colour), (people[1], people[1].colour)):
        x, y = middle(spot, shape).astype(int)
        beside = round(0.6 * reach(spot, shape))
        assert np.abs(result[y - beside, x].astype(int) - colour).max() <= 12
