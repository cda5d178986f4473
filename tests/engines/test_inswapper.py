"""engines/inswapper.py: the library's crops, each with its own identity, whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serve_app.engines import session
from serve_app.engines.choice import has_bf16
from serve_app.engines.inswapper import InSwapperEngine, Kind
from serve_app.engines.protocol import Engine
from serve_app.vision.face import FaceError, Floats, Patch, Pixels, Portrait, SwapItem
from tests.standins import Standins
from tests.standins.functional import embedding_of, swapper
from tests.standins.graph import Graph
from tests.standins.library import Library, its_warnings
from tests.standins.nets import swapper_model

COLOURS = [(20, 90, 200), (200, 30, 60), (70, 160, 40), (10, 20, 30), (250, 240, 130)]


def crop(seed: int, side: int = 128) -> Pixels:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8).repeat(side // 8, 0).repeat(side // 8, 1)
    pixels.flags.writeable = False
    return pixels


def embedding(seed: int) -> Floats:
    return 20 * np.random.default_rng(seed).standard_normal(512).astype(np.float32)


def item(seed: int, features: Floats | None = None, side: int = 128) -> SwapItem:
    return SwapItem(Portrait(embedding(seed) if features is None else features, None), Portrait(None, crop(seed + 100, side)))


def swap(engine: InSwapperEngine, *items: SwapItem) -> list[Patch]:
    raws = engine.run([engine.pre(each) for each in items])
    return [engine.post(each, raw) for each, raw in zip(items, raws, strict=True)]


@pytest.fixture(scope="module")
def exact(narrow: Standins) -> InSwapperEngine:
    return InSwapperEngine(narrow.swapper, precision="exact", threads=1)


@pytest.fixture(scope="module")
def fast(narrow: Standins) -> InSwapperEngine:
    return InSwapperEngine(narrow.swapper, precision="fast", threads=1, buckets=(1, 2, 4), measure=False)


def test_crops_are_the_librarys(exact: InSwapperEngine, library: Library) -> None:
    from insightface.app.common import Face

    keypoints = np.array([[46.3, 51.7], [81.5, 51.5], [64.0, 71.7], [49.5, 92.4], [78.7, 92.2]], np.float32)
    for seed in range(5):
        each = item(seed)
        with its_warnings():
            expected, matrix = library.swapper.get(crop(seed + 100), Face(kps=keypoints), Face(embedding=embedding(seed)), paste_back=False)
            from insightface.utils.face_align import norm_crop2

            aligned, _ = norm_crop2(crop(seed + 100), keypoints, 128)
        (patch,) = swap(exact, SwapItem(each.source, Portrait(None, aligned)))
        assert matrix.shape == (2, 3)
        assert np.array_equal(patch.pixels, expected)
        assert (patch.mask == 255).all()
        assert patch.pixels.std() > 5


def test_latents_are_the_librarys(exact: InSwapperEngine, library: Library) -> None:
    for seed in range(20):
        raw = embedding(seed)
        latent = np.dot((raw / np.linalg.norm(raw)).reshape((1, -1)), library.swapper.emap)
        latent /= np.linalg.norm(latent)
        assert np.array_equal(exact.latent(raw), latent[0])


def test_a_crop_does_not_depend_on_what_ran_with_it(narrow: Standins, exact: InSwapperEngine) -> None:
    engine = InSwapperEngine(narrow.swapper, precision="exact", threads=1, buckets=(1, 2, 4, 8), measure=False)
    assert engine.buckets == (1, 2, 4, 8)
    inputs = [exact.pre(item(seed)) for seed in range(11)]
    alone = [exact.run([each])[0][0] for each in inputs]
    for count in (1, 2, 3, 4, 8, 11):
        assert all(np.array_equal(raw, b) for (raw,), b in zip(engine.run(inputs[:count]), alone, strict=False))


def test_each_crop_of_a_batch_gets_its_own_identity(functional: Standins) -> None:
    engine = InSwapperEngine(functional.swapper, precision="fast", threads=1, buckets=(1, 2, 4), measure=False)
    items = [item(i, embedding_of(colour)) for i, colour in enumerate(COLOURS)]
    for patch, colour in zip(swap(engine, *items), COLOURS, strict=True):
        np.testing.assert_allclose(np.median(patch.pixels.reshape(-1, 3), 0), colour, atol=45)
    for patch, alone in zip(swap(engine, *items), [swap(engine, each)[0] for each in items], strict=True):
        assert np.array_equal(patch.pixels, alone.pixels)


def decibels(a: Pixels, b: Pixels) -> float:
    error = float(np.mean((a.astype(float) - b) ** 2))
    return 10 * np.log10(255**2 / error) if error else np.inf


def faint(seed: int) -> Pixels:
    """One colour with a noise that nobody sees."""
    random = np.random.default_rng(seed)
    return np.asarray(np.rint(np.clip(random.integers(0, 256, 3) + random.normal(0, 2, (128, 128, 3)), 0, 255)), np.uint8)


def flat(seed: int) -> Pixels:
    return np.full((128, 128, 3), np.random.default_rng(seed).integers(0, 256, 3), np.uint8)


def cut_off(seed: int) -> Pixels:
    """A face of which half lies outside of its picture."""
    pixels = crop(seed).copy()
    pixels[:, 64:] = 0
    return pixels


@pytest.mark.parametrize("paint", [crop, faint, flat, cut_off])
def test_fast_is_within_40_decibels_of_exact(exact: InSwapperEngine, fast: InSwapperEngine, paint: Callable[[int], Pixels]) -> None:
    """Of each crop, also of those without texture, which bf16 alone puts 32 dB away."""
    for seed in range(4):
        each = SwapItem(Portrait(embedding(seed), None), Portrait(None, paint(seed)))
        ((a,), (b,)) = swap(fast, each), swap(exact, each)
        assert decibels(a.pixels, b.pixels) >= 40


def test_fast_begins_with_differences_where_it_is_bf16(fast: InSwapperEngine) -> None:
    """In another form than theirs the test at start would not let bf16 pass."""
    bf16 = has_bf16(Path("/proc/cpuinfo"))
    assert fast.info()["precision"] == ("bf16" if bf16 else "f32")
    assert ("beginning" in fast.info()) == bf16


def test_bf16_alone_does_not_pass(narrow: Standins, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What centred.py is for: without it the test at start finds the crop that is too far off."""
    monkeypatch.setattr(session, "centred", lambda model: None)
    assert InSwapperEngine(narrow.swapper, precision="fast", threads=1).info()["precision"] == "f32"
    assert ("inswapper_128.onnx: OpenVINO bf16 differs" in caplog.text) == has_bf16(Path("/proc/cpuinfo"))


def test_a_fast_crop_does_not_depend_on_what_ran_with_it(fast: InSwapperEngine) -> None:
    assert fast.buckets == (1, 2, 4)
    inputs = [fast.pre(item(seed)) for seed in range(7)]
    alone = [fast.run([each])[0][0] for each in inputs]
    assert all(np.array_equal(fast.run([each])[0][0], b) for each, b in zip(inputs, alone, strict=True))
    for count in (2, 3, 4, 7):
        assert all(np.array_equal(raw, b) for (raw,), b in zip(fast.run(inputs[:count]), alone, strict=False))


def save(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, str(path))
    return path


def test_the_way_from_embedding_to_latent_is_found_by_name(tmp_path: Path, functional: Standins) -> None:
    """Float16 files are about that have another weight behind it, where the library looks."""
    model = swapper()
    model.graph.initializer.append(numpy_helper.from_array(np.ones((512, 512), np.float32), "behind"))
    expected = InSwapperEngine(functional.swapper, precision="exact", threads=1).latent(embedding(1))
    assert np.array_equal(InSwapperEngine(save(tmp_path / "s.onnx", model), precision="exact", threads=1).latent(embedding(1)), expected)


def test_without_the_name_it_is_the_weight_that_no_node_reads(tmp_path: Path, functional: Standins) -> None:
    model = swapper()
    model.graph.initializer[-1].name = "emap"
    model.graph.initializer.append(numpy_helper.from_array(np.ones((32, 32), np.float32), "behind"))
    expected = InSwapperEngine(functional.swapper, precision="exact", threads=1).latent(embedding(1))
    assert np.array_equal(InSwapperEngine(save(tmp_path / "s.onnx", model), precision="exact", threads=1).latent(embedding(1)), expected)


def test_without_any_the_file_is_refused(tmp_path: Path) -> None:
    model = swapper()
    del model.graph.initializer[-1]
    with pytest.raises(RuntimeError, match=r"s.onnx is no face swapper of kind inswapper: .*Known: inswapper.*hyperswap"):
        InSwapperEngine(save(tmp_path / "s.onnx", model))


@pytest.mark.parametrize(("role", "kind"), [("detector", "inswapper"), ("recogniser", "inswapper"), ("swapper", "hyperswap")])
def test_another_models_file_is_refused_with_its_signature(functional: Standins, role: str, kind: Kind) -> None:
    path: Path = getattr(functional, role)
    with pytest.raises(RuntimeError, match=rf"{path.name} is no face swapper of kind {kind}: its signature is \("):
        InSwapperEngine(path, kind=kind)


def half(path: Path) -> Path:
    """A swapper whose inputs, output and emap are float16."""
    graph = Graph()
    spread = graph.weight(np.full((512, 3), 0.01, np.float16))
    said = graph.node("Unsqueeze", graph.node("MatMul", "source", spread), axes=[2, 3])
    graph.node("Add", "target", said, to="output")
    emap = numpy_helper.from_array(np.eye(512, dtype=np.float16), "buff2fs")
    model = graph.model("swapper", {"target": [1, 3, 128, 128], "source": [1, 512]}, {"output": [1, 3, 128, 128]}, emap)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return save(path, model)


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_float16_inputs_and_outputs_are_honoured(tmp_path: Path, precision: Any) -> None:
    engine = InSwapperEngine(half(tmp_path / "h.onnx"), precision=precision, threads=1, buckets=(1, 2), measure=False)
    assert engine.buckets == (1, 2)
    engine.warm_up()
    features = np.ones(512, np.float32)
    for each, patch in zip(items := [item(0, features), item(1, -features)], swap(engine, *items), strict=True):
        assert each.source.features is not None
        assert each.target.pixels is not None
        shift = np.sign(each.source.features[0]) * 0.01 * 512 / np.sqrt(512) * 255
        np.testing.assert_allclose(patch.pixels, np.clip(each.target.pixels + shift, 0, 255), atol=3)


def poisonous(path: Path, *, spreads: bool) -> Path:
    """A swapper that answers with nothing but NaN where the target is all white; it may take its company with it."""
    graph = Graph()
    brightest = graph.node("ReduceMin", "target", axes=[1, 2, 3], keepdims=1)  # 1 for a white crop
    zero = graph.node("Sub", graph.weight(np.float32(1)), graph.node("Floor", brightest))
    ratio = graph.node("Div", zero, zero)
    ratio = graph.node("ReduceMean", ratio, axes=[0], keepdims=1) if spreads else ratio
    graph.node("Mul", "target", ratio, to="output")
    return save(path, swapper_model(graph, np.eye(512)))


@pytest.mark.parametrize("spreads", [False, True])
def test_a_poisoned_item_fails_alone(tmp_path: Path, spreads: bool) -> None:
    engine = InSwapperEngine(
        poisonous(tmp_path / "s.onnx", spreads=spreads), precision="exact", threads=1, buckets=(1, 2, 4), measure=False
    )
    assert engine.buckets == (1, 2, 4)
    white = SwapItem(Portrait(embedding(0), None), Portrait(None, np.full((128, 128, 3), 255, np.uint8)))
    items = [item(1), white, item(2), item(3)]
    raws = engine.run([engine.pre(each) for each in items])
    with pytest.raises(FaceError, match="not a picture"):
        engine.post(white, raws[1])
    for i in (0, 2, 3):
        target = items[i].target.pixels
        assert target is not None
        np.testing.assert_allclose(engine.post(items[i], raws[i]).pixels, target, atol=1)


@pytest.mark.parametrize("features", [np.zeros(512, np.float32), np.full(512, np.nan, np.float32)])
def test_an_embedding_of_nothing_fails_before_the_batch(exact: InSwapperEngine, features: Floats) -> None:
    with pytest.raises(FaceError, match="source face could not be described"):
        exact.pre(item(0, features))


def test_items_of_another_shape_are_refused(exact: InSwapperEngine) -> None:
    with pytest.raises(ValueError, match="128"):
        exact.pre(item(0, side=256))
    with pytest.raises(ValueError, match="512"):
        exact.pre(item(0, np.ones(478, np.float32)))
    with pytest.raises(ValueError, match="needed"):
        exact.pre(SwapItem(Portrait(None, None), Portrait(None, crop(0))))


def hyperswap(path: Path) -> Path:
    """Inputs in Hyperswap's order; the picture comes back darker where the embedding says so, the mask is the left half."""
    graph = Graph()
    said = graph.node("Unsqueeze", graph.node("MatMul", "source", graph.weight(np.full((512, 1), 1.0))), axes=[2, 3])
    graph.node("Mul", "target", said, to="output")
    left = np.zeros((1, 1, 256, 256))
    left[..., :128] = 1
    one = graph.node("Div", graph.channels("target", 0, 1), graph.channels("target", 0, 1))
    graph.node("Mul", one, graph.weight(left), to="mask")
    shapes: dict[str, list[int | str]] = {"source": [1, 512], "target": [1, 3, 256, 256]}
    outputs: dict[str, list[int | str]] = {"output": [1, 3, 256, 256], "mask": [1, 1, 256, 256]}
    return save(
        path, helper.make_model(graph.model("hyperswap", shapes, outputs).graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    )


def test_hyperswap_by_name_only(tmp_path: Path) -> None:
    path = hyperswap(tmp_path / "hyperswap_1a_256.onnx")
    with pytest.raises(RuntimeError, match="no face swapper of kind inswapper"):
        InSwapperEngine(path)
    engine = InSwapperEngine(path, kind="hyperswap", precision="exact", threads=1)
    engine.warm_up()
    same, opposite = np.zeros((2, 512), np.float32)
    same[3], opposite[3] = 9.0, -9.0
    (patch,) = swap(engine, item(1, same, 256))
    np.testing.assert_allclose(patch.pixels, crop(101, 256), atol=1)
    assert (patch.mask[:, :128] == 255).all()
    assert not patch.mask[:, 128:].any()
    (patch,) = swap(engine, item(1, opposite, 256))
    np.testing.assert_allclose(patch.pixels, 255 - crop(101, 256).astype(int), atol=1)


def test_it_is_an_engine_that_says_what_it_is(exact: InSwapperEngine) -> None:
    engine: Engine[SwapItem, Any, Any, Patch] = exact
    engine.warm_up()
    assert engine.info().items() >= {"model": "inswapper", "precision": "f32", "threads": "1", "buckets": "1"}.items()
