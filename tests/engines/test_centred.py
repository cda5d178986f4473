"""engines/centred.py: the two nets compute what the one does, and nets that begin otherwise are left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest

from serve_app.engines.centred import ENTRY, centred
from tests.standins import Standins
from tests.standins.graph import Graph

SHAPES = {"target": [2, 3, 128, 128], "source": [2, 512]}
NORMALISED = "normalised"


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


def kinds(model: Any, kind: str) -> int:
    return [node.get_type_name() for node in model.get_ops()].count(kind)


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
    assert not (coarse.view(np.uint32) & 0xFFFF).any(), "as bf16 has it"
    np.testing.assert_allclose(coarse + fine, inputs["target"] - inputs["target"].mean((2, 3), keepdims=True), atol=1e-6)
    assert kinds(parts[1], "Convolution") == 20


def bend(graph: Graph, x: str, kind: str, width: int) -> str:
    if kind == "PRelu":
        return graph.node("PRelu", x, graph.weight(graph.random.random((width, 1, 1), np.float32)))
    return graph.node("LeakyRelu", x, alpha=0.2) if kind == "LeakyRelu" else graph.node(kind, x)


def conv(graph: Graph, x: str, taken: int, given: int, *, stride: int = 1, pad: int = 0) -> str:
    """With a bias of either sign, large beside the texture."""
    weight = graph.random.standard_normal((given, taken, 3, 3), dtype=np.float32) * np.float32(0.3)
    return graph.conv(x, weight, graph.random.standard_normal(given, dtype=np.float32), stride=stride, pad=pad)


def border(graph: Graph, x: str, mode: str = "reflect") -> str:
    return graph.node("Pad", x, graph.weight(np.array([0, 0, 1, 1] * 2, np.int64)), mode=mode)


def normalise(graph: Graph, y: str, to: str) -> str:
    return graph.node("Sub", y, graph.node("ReduceMean", y, axes=[2, 3], keepdims=1), to=to)


def save(graph: Graph, path: Path) -> tuple[Path, dict[str, list[int]]]:
    onnx.save(graph.model("net", {"picture": [2, 3, 16, 16]}, {"out": [2, "?", "?", "?"]}), str(path))
    return path, {"picture": [2, 3, 16, 16]}


@pytest.mark.parametrize("last", ["as it is", "border", "zeros"])
@pytest.mark.parametrize("kind", ["Relu", "LeakyRelu", "PRelu"])
def test_any_bends_borders_and_strides(tmp_path: Path, kind: str, last: str) -> None:
    graph = Graph(3)
    x = bend(graph, conv(graph, border(graph, "picture", "edge"), 3, 8), kind, 8)
    x = bend(graph, conv(graph, x, 8, 12, stride=2, pad=1), kind, 12)
    x = bend(graph, conv(graph, x, 12, 6, pad=1), kind, 6)
    y = conv(graph, border(graph, x) if last == "border" else x, 6, 4, pad=int(last == "zeros"))
    kept = graph.node("ReduceMean", x, axes=[1, 2, 3], keepdims=1)  # somebody else, who needs the values as they are
    graph.node("Add", normalise(graph, y, NORMALISED), kept, to="out")
    path, shapes = save(graph, tmp_path / "net.onnx")
    inputs = {"picture": np.random.default_rng(1).random((2, 3, 16, 16), np.float32)}
    inputs["picture"][1] = 0.7 + inputs["picture"][1] / 100
    (expected,) = run(read(path, shapes), inputs)
    parts = centred(read(path, shapes))
    assert parts is not None
    handed, (found,) = together(parts, inputs)
    assert len(handed) == 4
    np.testing.assert_allclose(found, expected, atol=2e-5)


def read_by_another(graph: Graph) -> None:
    """What is normalised is also taken as it is: a channel's mean would be missing there."""
    y = conv(graph, bend(graph, conv(graph, "picture", 3, 8), "Relu", 8), 8, 4)
    graph.node("Add", normalise(graph, y, NORMALISED), y, to="out")


def zeros_around_the_picture(graph: Graph) -> None:
    y = conv(graph, bend(graph, conv(graph, "picture", 3, 8, pad=1), "Relu", 8), 8, 4)
    normalise(graph, y, "out")


def a_bypass(graph: Graph) -> None:
    x = bend(graph, conv(graph, "picture", 3, 8), "Relu", 8)
    y = conv(graph, bend(graph, conv(graph, x, 8, 8, pad=1), "Relu", 8), 8, 4)
    graph.node("Add", normalise(graph, y, NORMALISED), graph.node("ReduceMean", x, axes=[1, 2, 3], keepdims=1), to="out")


def a_pool(graph: Graph) -> None:
    x = bend(graph, conv(graph, "picture", 3, 8), "Relu", 8)
    y = conv(graph, graph.node("MaxPool", x, kernel_shape=[2, 2]), 8, 4)
    normalise(graph, y, "out")


def another_bend(graph: Graph) -> None:
    y = conv(graph, graph.node("Tanh", conv(graph, "picture", 3, 8)), 8, 4)
    normalise(graph, y, "out")


def normalised_at_once(graph: Graph) -> None:
    normalise(graph, conv(graph, "picture", 3, 8), "out")


@pytest.mark.parametrize("build", [read_by_another, zeros_around_the_picture, a_bypass, a_pool, another_bend, normalised_at_once])
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
