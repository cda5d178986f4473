"""engines/halves.py: the two parts compute what the whole does, and the cut is where bf16 may begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest

from serve_app.engines.halves import halves
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


def together(head: Any, tail: Any, inputs: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """What the head hands over, and what comes out."""
    handed = run(head, inputs)
    return handed, run(tail, {**inputs, **{f"half {number}": value for number, value in enumerate(handed)}})


def test_a_swapper_is_cut_before_its_first_normalised_convolution(narrow: Standins) -> None:
    random = np.random.default_rng(0)
    inputs = {name: random.random(shape, np.float32) for name, shape in SHAPES.items()}
    (expected,) = run(read(narrow.swapper, SHAPES), inputs)
    parts = halves(read(narrow.swapper, SHAPES))
    assert parts is not None
    kinds = [[node.get_type_name() for node in part.get_ops()].count("Convolution") for part in parts]
    assert kinds == [4, 16]
    handed, (found,) = together(*parts, inputs)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    means = sorted(float(np.abs(value.mean((2, 3))).max() / value.std()) for value in handed)
    assert len(handed) == 2
    assert means[0] < 0.05 < means[1]  # the residual keeps its channels' means, the convolution gets none


@pytest.mark.parametrize(("pad", "own", "centred"), [(0, False, True), (1, False, False), (0, True, False)])
def test_means_are_left_out_only_where_the_normalisation_takes_them_away(tmp_path: Path, pad: int, own: bool, centred: bool) -> None:
    """Not where the convolution adds a border, or somebody else reads its output."""
    graph = Graph()
    x = graph.node("Relu", graph.random_conv("picture", 3, 8, 3))
    y = graph.random_conv(x, 8, 4, 3, pad=pad)
    normal = graph.node("Sub", y, graph.node("ReduceMean", y, axes=[2, 3], keepdims=1))
    graph.node("Add", normal, y, to="out") if own else graph.node("Identity", normal, to="out")
    onnx.save(graph.model("net", {"picture": [1, 3, 16, 16]}, {"out": [1, 4, "?", "?"]}), str(tmp_path / "net.onnx"))
    inputs, shapes = {"picture": np.random.default_rng(1).random((1, 3, 16, 16), np.float32)}, {"picture": [1, 3, 16, 16]}
    (expected,) = run(read(tmp_path / "net.onnx", shapes), inputs)
    parts = halves(read(tmp_path / "net.onnx", shapes))
    assert parts is not None
    (handed,), (found,) = together(*parts, inputs)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert bool(np.abs(handed.mean((2, 3))).max() < 1e-5) == centred


def test_a_net_without_normalisation_stays_whole(narrow: Standins) -> None:
    assert halves(read(narrow.recogniser, {"input.1": [1, 3, 112, 112]})) is None
