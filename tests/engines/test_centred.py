"""engines/centred.py: the two nets compute what the one does, and nets that begin otherwise are left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from onnxruntime.transformers import float16

from serve_app.engines.centred import ENTRY, centred
from serve_app.engines.choice import has_bf16
from tests.standins import Standins
from tests.standins.graph import Graph

SHAPES = {"target": [2, 3, 128, 128], "source": [2, 512]}


def read(path: Path, shapes: dict[str, list[int]]) -> Any:
    model = openvino.Core().read_model(path)
    model.reshape(shapes)
    return model


def run(model: Any, inputs: dict[str, Any]) -> list[Any]:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    wanted = {name for port in compiled.inputs for name in port.get_names()}
    found = compiled({name: value for name, value in inputs.items() if name in wanted})
    return [found[port] for port in compiled.outputs]


def together(parts: tuple[Any, Any], inputs: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """What the first net hands over, and what comes out."""
    handed = run(parts[0], inputs)
    return handed, run(parts[1], {**inputs, **{ENTRY.format(number): value for number, value in enumerate(handed)}})


def test_a_swapper_gets_a_picture_without_its_mean_colour(narrow: Standins) -> None:
    random = np.random.default_rng(0)
    inputs = {name: random.random(shape, np.float32) for name, shape in SHAPES.items()}
    (expected,) = run(read(narrow.swapper, SHAPES), inputs)
    parts = centred(read(narrow.swapper, SHAPES))
    assert parts is not None
    (picture, *plain), (found,) = together(parts, inputs)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert [value.shape for value in plain] == [(2, width, 1, 1) for width in (16, 32, 64, 128)]
    coarse, fine = picture[:, :3], picture[:, 3:]
    if has_bf16(Path("/proc/cpuinfo")):
        assert not (coarse.view(np.uint32) & 0xFFFF).any(), "as bf16 has it"
    np.testing.assert_allclose(coarse + fine, inputs["target"] - inputs["target"].mean((2, 3), keepdims=True), atol=1e-6)
    assert [node.get_type_name() for node in parts[1].get_ops()].count("Convolution") == 20


def bend(graph: Graph, x: str, kind: str, width: int) -> str:
    if kind == "PRelu":
        return graph.node("PRelu", x, graph.weight(graph.random.random((width, 1, 1), np.float32)))
    return graph.node("LeakyRelu", x, alpha=0.2) if kind == "LeakyRelu" else graph.node(kind, x)


def conv(graph: Graph, x: str, taken: int, given: int, **how: Any) -> str:
    """With a bias of either sign, large beside the texture."""
    weight = graph.random.standard_normal((given, taken, 3, 3), dtype=np.float32) * np.float32(0.3)
    bias = graph.weight(graph.random.standard_normal(given, dtype=np.float32))
    return graph.node("Conv", x, graph.weight(weight), bias, kernel_shape=[3, 3], **how)


def border(graph: Graph, x: str, mode: str = "reflect", channels: int = 0) -> str:
    return graph.node("Pad", x, graph.weight(np.array([0, 0, 1, 1, 0, channels, 1, 1], np.int64)), mode=mode)


def normalise(graph: Graph, y: str, to: str = "normalised", axes: Sequence[int] = (2, 3)) -> str:
    return graph.node("Sub", y, graph.node("ReduceMean", y, axes=list(axes), keepdims=1), to=to)


def save(graph: Graph, path: Path) -> tuple[Path, dict[str, list[int]]]:
    onnx.save(graph.model("net", {"picture": [2, 3, 16, 16]}, {"out": [2, "?", "?", "?"]}), str(path))
    return path, {"picture": [2, 3, 16, 16]}


@pytest.mark.parametrize("last", ["as it is", "border", "zeros"])
@pytest.mark.parametrize("kind", ["Relu", "LeakyRelu", "PRelu"])
def test_any_bends_borders_and_strides(tmp_path: Path, kind: str, last: str) -> None:
    graph = Graph(3)
    x = bend(graph, conv(graph, border(graph, "picture", "edge"), 3, 8), kind, 8)
    x = bend(graph, conv(graph, x, 8, 12, strides=[2, 2], pads=[1, 1, 1, 1]), kind, 12)
    x = bend(graph, conv(graph, x, 12, 6, pads=[2, 1, 1, 2], dilations=[2, 1]), kind, 6)
    y = conv(graph, border(graph, x) if last == "border" else x, 6, 4, pads=[int(last == "zeros")] * 4)
    kept = graph.node("ReduceMean", x, axes=[1, 2, 3], keepdims=1)  # somebody else, who needs the values as they are
    graph.node("Add", normalise(graph, y), kept, to="out")
    path, shapes = save(graph, tmp_path / "net.onnx")
    inputs = {"picture": np.random.default_rng(1).random((2, 3, 16, 16), np.float32)}
    inputs["picture"][1] = 0.7 + inputs["picture"][1] / 100
    (expected,) = run(read(path, shapes), inputs)
    parts = centred(read(path, shapes))
    assert parts is not None
    handed, (found,) = together(parts, inputs)
    assert len(handed) == 4
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_float16_net_that_takes_float32(narrow: Standins, tmp_path: Path) -> None:
    """As some files are: a cast stands between the picture and the first border."""
    model = onnx.load(str(narrow.swapper))
    onnx.save(float16.convert_float_to_float16(model, keep_io_types=True), str(tmp_path / "half.onnx"))
    inputs = {name: np.random.default_rng(0).random(shape, np.float32) for name, shape in SHAPES.items()}
    (expected,) = run(read(tmp_path / "half.onnx", SHAPES), inputs)
    parts = centred(read(tmp_path / "half.onnx", SHAPES))
    assert parts is not None
    np.testing.assert_allclose(together(parts, inputs)[1][0], expected, atol=5e-3)


def first(graph: Graph) -> str:
    return bend(graph, conv(graph, "picture", 3, 8), "Relu", 8)


def what_is_normalised_is_read_by_another(graph: Graph) -> None:
    y = conv(graph, first(graph), 8, 4)
    graph.node("Add", normalise(graph, y), y, to="out")


def its_mean_is_read_by_another(graph: Graph) -> None:
    y = conv(graph, first(graph), 8, 4)
    mean = graph.node("ReduceMean", y, axes=[2, 3], keepdims=1)
    graph.node("Mul", graph.node("Sub", y, mean), mean, to="out")


def only_its_mean_is_read(graph: Graph) -> None:
    graph.node("ReduceMean", conv(graph, first(graph), 8, 4), axes=[2, 3], keepdims=1, to="out")


def a_mean_less_what_it_is_of(graph: Graph) -> None:
    y = conv(graph, first(graph), 8, 4)
    graph.node("Sub", graph.node("ReduceMean", y, axes=[2, 3], keepdims=1), y, to="out")


def a_mean_of_rows(graph: Graph) -> None:
    normalise(graph, conv(graph, first(graph), 8, 4), "out", axes=[2])


def a_mean_of_all(graph: Graph) -> None:
    normalise(graph, conv(graph, first(graph), 8, 4), "out", axes=[1, 2, 3])


def zeros_around_the_picture(graph: Graph) -> None:
    y = conv(graph, bend(graph, conv(graph, "picture", 3, 8, pads=[0, 0, 1, 0]), "Relu", 8), 8, 4)
    normalise(graph, y, "out")


def a_border_of_zeros(graph: Graph) -> None:
    normalise(graph, conv(graph, border(graph, first(graph), "constant"), 8, 4), "out")


def a_channel_more(graph: Graph) -> None:
    normalise(graph, conv(graph, border(graph, first(graph), "edge", channels=1), 9, 4), "out")


def borders_as_needed(graph: Graph) -> None:
    normalise(graph, conv(graph, first(graph), 8, 4, auto_pad="SAME_UPPER"), "out")


def a_bypass(graph: Graph) -> None:
    x = first(graph)
    y = conv(graph, bend(graph, conv(graph, x, 8, 8), "Relu", 8), 8, 4)
    graph.node("Add", normalise(graph, y), graph.node("ReduceMean", x, axes=[1, 2, 3], keepdims=1), to="out")


def a_bypass_from_a_border(graph: Graph) -> None:
    x = border(graph, first(graph))
    graph.node("Add", normalise(graph, conv(graph, x, 8, 4)), graph.node("ReduceMean", x, axes=[1, 2, 3], keepdims=1), to="out")


def a_pool(graph: Graph) -> None:
    normalise(graph, conv(graph, graph.node("MaxPool", first(graph), kernel_shape=[2, 2]), 8, 4), "out")


def another_bend(graph: Graph) -> None:
    normalise(graph, conv(graph, graph.node("Tanh", conv(graph, "picture", 3, 8)), 8, 4), "out")


def a_steep_bend(graph: Graph) -> None:
    normalise(graph, conv(graph, graph.node("LeakyRelu", conv(graph, "picture", 3, 8), alpha=1.5), 8, 4), "out")


def a_bend_upwards(graph: Graph) -> None:
    normalise(graph, conv(graph, graph.node("LeakyRelu", conv(graph, "picture", 3, 8), alpha=-0.2), 8, 4), "out")


def a_bend_of_each_pixel(graph: Graph) -> None:
    slope = graph.weight(graph.random.random((1, 1, 14), np.float32))
    normalise(graph, conv(graph, graph.node("PRelu", conv(graph, "picture", 3, 14), slope), 14, 4), "out")


def a_bias_of_each_pixel(graph: Graph) -> None:
    added = graph.weight(graph.random.random((1, 8, 14, 14), np.float32))
    normalise(graph, conv(graph, graph.node("Relu", graph.node("Add", conv(graph, "picture", 3, 8), added)), 8, 4), "out")


def normalised_at_once(graph: Graph) -> None:
    normalise(graph, conv(graph, "picture", 3, 8), "out")


OTHERWISE = [
    what_is_normalised_is_read_by_another,
    its_mean_is_read_by_another,
    only_its_mean_is_read,
    a_mean_less_what_it_is_of,
    a_mean_of_rows,
    a_mean_of_all,
    zeros_around_the_picture,
    a_border_of_zeros,
    a_channel_more,
    borders_as_needed,
    a_bypass,
    a_bypass_from_a_border,
    a_pool,
    another_bend,
    a_steep_bend,
    a_bend_upwards,
    a_bend_of_each_pixel,
    a_bias_of_each_pixel,
    normalised_at_once,
]


@pytest.mark.parametrize("build", OTHERWISE, ids=lambda build: build.__name__)
def test_a_net_that_begins_otherwise_stays_whole(tmp_path: Path, build: Callable[[Graph], None]) -> None:
    graph = Graph(4)
    build(graph)
    model = read(*save(graph, tmp_path / "net.onnx"))
    inputs = {"picture": np.random.default_rng(1).random((2, 3, 16, 16), np.float32)}
    before = run(model, inputs)
    assert centred(model) is None
    np.testing.assert_array_equal(run(model, inputs)[0], before[0])


def test_a_net_without_normalisation_stays_whole(narrow: Standins) -> None:
    assert centred(read(narrow.recogniser, {"input.1": [1, 3, 112, 112]})) is None
