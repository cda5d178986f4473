"""engines/arcface.py: the library's embeddings, one crop or many at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from serve_app.engines.arcface import ArcFaceEngine, normalisation
from serve_app.engines.onnxfile import read_signature
from serve_app.engines.protocol import Engine
from serve_app.vision.face import FaceError, FaceSquare, Floats, Pixels
from tests.standins import Standins
from tests.standins.functional import embedding_of
from tests.standins.graph import Graph
from tests.standins.library import Library

KEYPOINTS = np.zeros((5, 2), np.float32)


def crop(seed: int) -> FaceSquare:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (8, 8, 3), np.uint8).repeat(14, 0).repeat(14, 1)
    pixels.flags.writeable = False  # as Ray hands them over
    return FaceSquare(pixels, KEYPOINTS)


def describe(engine: ArcFaceEngine, *items: FaceSquare) -> list[Floats]:
    raws = engine.run([engine.pre(item) for item in items])
    return [engine.post(item, raw) for item, raw in zip(items, raws, strict=True)]


@pytest.fixture(scope="module")
def exact(narrow: Standins) -> ArcFaceEngine:
    return ArcFaceEngine(narrow.recogniser, precision="exact", threads=1)


def test_embeddings_are_the_librarys(exact: ArcFaceEngine, library: Library) -> None:
    for seed in range(8):
        item = crop(seed)
        (embedding,) = describe(exact, item)
        assert embedding.shape == (512,)
        assert embedding.dtype == np.float32
        np.testing.assert_allclose(embedding, library.recogniser.get_feat(item.pixels)[0], rtol=0, atol=1e-5)


def test_an_embedding_does_not_depend_on_what_ran_with_it(narrow: Standins, exact: ArcFaceEngine) -> None:
    engine = ArcFaceEngine(narrow.recogniser, precision="exact", threads=1, buckets=(1, 2, 4, 8), measure=False)
    assert engine.buckets == (1, 2, 4, 8)
    items = [crop(seed) for seed in range(11)]
    alone = [describe(exact, item)[0] for item in items]
    for count in range(1, 12):
        together = describe(engine, *items[-count:])
        assert all(np.array_equal(a, b) for a, b in zip(together, alone[-count:], strict=True))


def test_fast_is_within_a_thousandth_of_exact(narrow: Standins, exact: ArcFaceEngine) -> None:
    fast = ArcFaceEngine(narrow.recogniser, precision="fast", threads=1)
    for seed in range(6):
        (a,), (b,) = describe(fast, crop(seed)), describe(exact, crop(seed))
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.999


def test_colours_go_in_as_red_green_blue(functional: Standins) -> None:
    engine = ArcFaceEngine(functional.recogniser, precision="exact", threads=1)
    pixels: Pixels = np.full((112, 112, 3), (10, 90, 200), np.uint8)
    (embedding,) = describe(engine, FaceSquare(pixels, KEYPOINTS))
    np.testing.assert_allclose(embedding, embedding_of((10, 90, 200)), atol=1e-5)


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("Sub_1", "Mul_2"), (0.0, 1.0)), (("_minusscalar0", "_mulscalar0"), (0.0, 1.0)), (("Sub_1", "Conv"), (127.5, 127.5))],
)
def test_a_net_that_scales_pixels_itself_gets_them_raw(tmp_path: Path, names: tuple[str, str], expected: tuple[float, float]) -> None:
    graph = Graph()
    x = graph.node("Sub", "data", graph.weight(np.float32(127.5)))
    x = graph.node("Mul", x, graph.weight(np.float32(1 / 128)))
    x = graph.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    graph.node("MatMul", x, graph.weight(graph.random.standard_normal((3, 512))), to="fc1")
    model = graph.model("recogniser", {"data": [1, 3, 112, 112]}, {"fc1": [1, 512]})
    for node, name in zip(model.graph.node, names, strict=False):
        node.name = name
    onnx.save(model, str(tmp_path / "r.onnx"))
    assert normalisation(read_signature(tmp_path / "r.onnx")) == expected
    ArcFaceEngine(tmp_path / "r.onnx", precision="exact", threads=1, buckets=(1, 2), measure=False).warm_up()


@pytest.mark.parametrize("role", ["detector", "swapper"])
def test_another_models_file_is_refused_with_its_signature(functional: Standins, role: str) -> None:
    path: Path = getattr(functional, role)
    with pytest.raises(RuntimeError, match=rf"{path.name} is not an ArcFace recogniser: its signature is \("):
        ArcFaceEngine(path)


@pytest.mark.parametrize("raw", [np.zeros(512), np.full(512, np.nan), np.r_[np.inf, np.ones(511)]])
def test_what_is_no_embedding_fails_its_face(exact: ArcFaceEngine, raw: Floats) -> None:
    with pytest.raises(FaceError, match="could not be described"):
        exact.post(crop(0), raw)


def test_a_crop_of_another_size_is_refused(exact: ArcFaceEngine) -> None:
    with pytest.raises(ValueError, match="112"):
        exact.pre(FaceSquare(np.zeros((128, 128, 3), np.uint8), KEYPOINTS))


def test_it_is_an_engine_that_says_what_it_is(exact: ArcFaceEngine) -> None:
    engine: Engine[FaceSquare, Any, Any, Floats] = exact
    engine.warm_up()
    assert engine.info().items() >= {"model": "ArcFace", "precision": "f32", "threads": "1", "buckets": "1"}.items()
