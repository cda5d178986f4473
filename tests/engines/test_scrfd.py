"""engines/scrfd.py: the library's faces from both exports, one frame or many at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from serve_app.engines.protocol import Engine
from serve_app.engines.scrfd import SCRFDEngine, deinterleave, shown
from serve_app.vision.face import FaceError, Faces, Frame, Pixels
from serve_app.vision.scrfd import STRIDES, library_letterbox
from tests.standins import Standins
from tests.standins import functional as by_hand
from tests.standins.graph import Graph
from tests.standins.library import Library
from tests.standins.nets import detector_model
from tests.standins.painting import plant, scatter
from tests.standins.planting import marks

SHAPES = [(480, 640, 3), (900, 500, 3), (300, 1400, 3), (640, 640, 3), (77, 91, 3)]


def picture(seed: int, count: int = 5, side: int = 640) -> Pixels:
    random = np.random.default_rng(seed)
    shape = SHAPES[seed % len(SHAPES)]
    canvas = random.integers(90, 130, shape, np.uint8)
    return plant(canvas, scatter(random, shape, count, side=side))


def frames(engine: SCRFDEngine, pixels: Pixels) -> tuple[Frame, ...]:
    return tuple(library_letterbox(pixels, side) for side in engine.sizes)


def find(engine: SCRFDEngine, *pictures: Pixels) -> list[Faces]:
    items = [frames(engine, each) for each in pictures]
    raws = engine.run([engine.pre(item) for item in items])
    return [engine.post(item, raw) for item, raw in zip(items, raws, strict=True)]


def same(a: Faces, b: Faces) -> bool:
    return np.array_equal(a.boxes, b.boxes) and np.array_equal(a.scores, b.scores) and np.array_equal(a.keypoints, b.keypoints)


@pytest.fixture(scope="module")
def exact(narrow: Standins) -> SCRFDEngine:
    return SCRFDEngine(narrow.detector, precision="exact", threads=1)


@pytest.mark.parametrize("sizes", [(640,), (128, 640), (320,)])
def test_faces_and_their_order_are_the_librarys(narrow: Standins, library: Library, sizes: tuple[int, ...]) -> None:
    engine, total = SCRFDEngine(narrow.detector, sizes=sizes, precision="exact", threads=1), 0
    for seed in range(6):
        pixels = picture(seed, 7, sizes[0])
        boxes, points = library.detector.detect(pixels, input_size=[(side, side) for side in sizes])
        (faces,) = find(engine, pixels)
        assert np.array_equal(np.column_stack([faces.boxes, faces.scores]), boxes)
        assert np.array_equal(faces.keypoints, points)
        total += len(faces)
    assert total > 10


@pytest.mark.parametrize("batched", [False, True], ids=["legacy", "batched"])
def test_every_batch_size_of_both_exports_gives_each_picture_its_own_faces(tmp_path: Path, batched: bool) -> None:
    path = tmp_path / "detector.onnx"
    onnx.save(by_hand.detector(batched=batched), str(path))
    engine = SCRFDEngine(path, sizes=(128, 640), precision="exact", threads=1, buckets=(1, 2, 4), measure=False)
    assert engine.buckets == (1, 2, 4)
    pictures = [picture(seed, 1 + seed) for seed in range(7)]
    alone = [find(engine, each)[0] for each in pictures]
    assert len({len(faces) for faces in alone}) > 3
    for count in range(1, 8):
        assert all(same(a, b) for a, b in zip(find(engine, *pictures[:count]), alone, strict=False))


BUCKETS = (1, 2, 4, 8)


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_of_every_size_have_the_bits_of_single_runs(narrow: Standins, threads: int) -> None:
    """And these are the library's, see below: ONNX Runtime picks its kernels by what it knows of the shapes."""
    alone = SCRFDEngine(narrow.detector, sizes=(128, 640), precision="exact", threads=threads)
    engine = SCRFDEngine(narrow.detector, sizes=(128, 640), precision="exact", threads=threads, buckets=BUCKETS, measure=False)
    assert engine.buckets == BUCKETS
    blobs = [alone.pre(frames(alone, picture(seed))) for seed in range(8)]
    expected = [alone.run([blob])[0] for blob in blobs]
    for count in BUCKETS:
        for raw, single in zip(engine.run(blobs[:count]), expected, strict=False):
            assert all(np.array_equal(a, b) for ours, its in zip(raw, single, strict=True) for a, b in zip(ours, its, strict=True))


def test_pictures_of_a_batch_have_the_librarys_faces(narrow: Standins, library: Library) -> None:
    engine = SCRFDEngine(narrow.detector, precision="exact", threads=1, buckets=BUCKETS, measure=False)
    pictures = [picture(seed) for seed in range(11)]
    together = find(engine, *pictures)
    for faces, each in zip(together, pictures, strict=True):
        boxes, points = library.detector.detect(each, input_size=(640, 640))
        assert np.array_equal(np.column_stack([faces.boxes, faces.scores]), boxes)
        assert np.array_equal(faces.keypoints, points)
    assert sum(map(len, together)) > 20


def test_rows_of_a_batch_lie_between_each_other() -> None:
    cells, count, anchors = 6, 3, 2
    items = np.arange(count * cells * anchors * 4).reshape(count, cells, anchors, 4)
    as_exported = items.transpose(1, 0, 2, 3).reshape(-1, 4)
    assert np.array_equal(deinterleave(as_exported, count), items.reshape(count, -1, 4))


def mixed_up(path: Path) -> Path:
    """A detector in which what is in one picture of a batch shows in the others."""
    graph = Graph()
    mean = graph.node("ReduceMean", "input.1", axes=[0], keepdims=1)
    x = graph.node("Sub", graph.node("Add", "input.1", mean), graph.node("Mul", mean, graph.weight(np.float32(1))))
    x = graph.node("Add", x, graph.node("Mul", graph.node("Sub", mean, "input.1"), graph.weight(np.float32(0.5))))
    onnx.save(detector_model(graph, [marks(graph, x, stride) for stride in STRIDES]), str(path))
    return path


def stuck(path: Path) -> Path:
    """A detector whose exporter wrote the batch of its example into the graph."""
    graph = Graph()
    x = graph.node("Reshape", "input.1", graph.weight(np.array([1, 3, 640, 640], np.int64)))
    onnx.save(detector_model(graph, [marks(graph, x, stride) for stride in STRIDES]), str(path))
    return path


@pytest.mark.parametrize(("make", "why"), [(mixed_up, "differs from single runs"), (stuck, "does not run")])
def test_a_net_that_cannot_take_batches_runs_one_at_a_time(tmp_path: Path, make: Any, why: str, caplog: pytest.LogCaptureFixture) -> None:
    engine = SCRFDEngine(make(tmp_path / "detector.onnx"), precision="exact", threads=1, buckets=(1, 2))
    assert engine.buckets == (1,)
    assert why in caplog.text
    pictures = [picture(seed) for seed in range(3)]
    assert all(len(a) and same(a, find(engine, each)[0]) for a, each in zip(find(engine, *pictures), pictures, strict=True))


@pytest.mark.usefixtures("openvino")
def test_fast_finds_the_same_faces(narrow: Standins, exact: SCRFDEngine) -> None:
    fast = SCRFDEngine(narrow.detector, precision="fast", threads=1)
    for seed in range(4):
        pixels = picture(seed)
        (faces,), (expected,) = find(fast, pixels), find(exact, pixels)
        assert len(faces) == len(expected)
        nearest = np.linalg.norm(faces.keypoints[:, None] - expected.keypoints[None], axis=-1).max(-1).min(1)
        assert (nearest < 0.03 * (expected.boxes[:, 2:] - expected.boxes[:, :2]).max(initial=1)).all()


SHOWN = {(480, 640): (576, 640), (900, 500): (640, 448), (300, 1400): (256, 640), (640, 640): (640, 640), (77, 91): (640, 640)}


@pytest.mark.usefixtures("openvino")
def test_fast_is_shown_less_of_a_frames_black(narrow: Standins, exact: SCRFDEngine) -> None:
    fast = SCRFDEngine(narrow.detector, sizes=(128, 640), precision="fast", threads=1)
    assert fast.info()["with less black"] == "640"
    for seed, shape in enumerate(SHAPES):
        pixels = picture(seed)
        small, large = fast.pre(frames(fast, pixels))
        assert small.shape == (3, 128, 128)
        assert large.shape == (3, *SHOWN[shape[:2]])
        (whole,) = exact.pre(frames(exact, pixels))
        assert np.array_equal(large, whole[:, : large.shape[1], : large.shape[2]])


@pytest.mark.parametrize("side", [256, 320, 640, 1280])
def test_a_side_grows_in_few_steps_and_has_black_until_the_frame_ends(side: int) -> None:
    heights = {shown(Frame(np.empty((height, side, 3), np.uint8), side, 1.0))[0] for height in range(1, side + 1)}
    assert len(heights) <= 10
    assert all(height % STRIDES[-1] == 0 for height in heights)
    for height in range(1, side + 1):
        found = shown(Frame(np.empty((side, height, 3), np.uint8), side, 1.0))
        assert found[0] == side
        assert min(side, height + 64) <= found[1] <= side


@pytest.mark.usefixtures("openvino")
def test_pictures_of_all_shapes_at_once_have_the_faces_that_each_has_alone(narrow: Standins) -> None:
    fast = SCRFDEngine(narrow.detector, sizes=(128, 640), precision="fast", threads=1, slots=2)
    pictures = [picture(seed) for seed in (0, 1, 5, 2, 3, 0, 10, 4)]
    alone = [find(fast, each)[0] for each in pictures]
    assert sum(map(len, alone)) > 20
    with ThreadPoolExecutor(2) as two:
        together = list(two.map(lambda each: find(fast, each)[0], pictures * 3))
    assert all(same(a, b) for a, b in zip(together, alone * 3, strict=True))
    assert all(same(a, b) for a, b in zip(find(fast, *pictures), alone, strict=True))


@pytest.mark.usefixtures("openvino")
def test_pictures_that_may_share_a_batch_are_shown_in_squares(narrow: Standins) -> None:
    fast = SCRFDEngine(narrow.detector, precision="fast", threads=1, buckets=(1, 2), measure=False)
    assert fast.info()["with less black"] == "none"
    assert fast.pre(frames(fast, picture(2)))[0].shape == (3, 640, 640)
    assert all(len(faces) for faces in find(fast, picture(0), picture(2)))


def normalising(path: Path) -> Path:
    """A detector whose answers depend on the whole picture, black and all."""
    graph = Graph()
    mean = graph.node("ReduceMean", "input.1", axes=[2, 3], keepdims=1)
    deviation = graph.node("Sub", "input.1", mean)
    spread = graph.node("Sqrt", graph.node("ReduceMean", graph.node("Mul", deviation, deviation), axes=[2, 3], keepdims=1))
    x = graph.node("Div", deviation, spread)
    onnx.save(detector_model(graph, [marks(graph, x, stride) for stride in STRIDES]), str(path))
    return path


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize(("make", "side", "why"), [
    (normalising, 256, "otherwise than in a square"),
    (normalising, 640, "otherwise than in a square"),
    (stuck, 640, "only squares"),
])  # fmt: skip
def test_a_net_that_needs_all_of_the_black_is_shown_it(
    tmp_path: Path, make: Any, side: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    fast, exact = (
        SCRFDEngine(make(tmp_path / "detector.onnx"), sizes=(side,), precision=precision, threads=1) for precision in ("fast", "exact")
    )
    assert why in caplog.text
    assert fast.info()["with less black"] == "none"
    assert fast.pre(frames(fast, picture(2)))[0].shape == (3, side, side)
    assert [len(find(fast, picture(seed))[0]) for seed in range(5)] == [len(find(exact, picture(seed))[0]) for seed in range(5)]


@pytest.mark.parametrize("role", ["recogniser", "swapper"])
def test_another_models_file_is_refused_with_its_signature(functional: Standins, role: str) -> None:
    path: Path = getattr(functional, role)
    with pytest.raises(RuntimeError, match=rf"{path.name} is not an SCRFD face detector.*float32\[1,3,128|.*\[\?,3,112,112\]"):
        SCRFDEngine(path)


def test_an_output_that_is_not_a_number_fails_its_picture(exact: SCRFDEngine) -> None:
    item = frames(exact, picture(0))
    (raw,) = exact.run([exact.pre(item)])
    spoilt = [[np.array(output) for output in outputs] for outputs in raw]
    spoilt[0][4][7, 1] = np.nan
    with pytest.raises(FaceError, match="could not make sense"):
        exact.post(item, spoilt)
    assert len(exact.post(item, raw))


@pytest.mark.parametrize("sizes", [(), (100,), (0,), (640, 640)])
def test_sizes_that_the_net_cannot_have_are_refused(functional: Standins, sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        SCRFDEngine(functional.detector, sizes=sizes)


@pytest.mark.parametrize("buckets", [(), (2, 4), (1, 4, 2), (1, 1)])
def test_batch_sizes_ascend_from_one(functional: Standins, buckets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascend from 1"):
        SCRFDEngine(functional.detector, buckets=buckets)


def test_frames_of_another_size_are_refused(exact: SCRFDEngine) -> None:
    with pytest.raises(ValueError, match="640"):
        exact.pre((library_letterbox(picture(0), 320),))
    with pytest.raises(ValueError, match="zip"):
        exact.pre(())


def test_it_is_an_engine_that_says_what_it_is(exact: SCRFDEngine) -> None:
    engine: Engine[tuple[Frame, ...], Any, Any, Faces] = exact
    engine.warm_up()
    assert engine.info().items() >= {"model": "SCRFD", "sizes": "640", "precision": "f32", "buckets": "1", "slots": "1"}.items()


def test_an_empty_picture_has_no_faces(exact: SCRFDEngine) -> None:
    (faces,) = find(exact, np.full((50, 60, 3), 127, np.uint8))
    assert (len(faces), faces.boxes.shape, faces.keypoints.shape) == (0, (0, 4), (0, 5, 2))
