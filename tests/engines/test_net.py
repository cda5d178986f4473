"""engines/net.py: what all three engines of the insightface family do with odd files and poisoned items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from serve_app.engines.arcface import ArcFaceEngine
from serve_app.engines.inswapper import InSwapperEngine
from serve_app.engines.scrfd import SCRFDEngine
from serve_app.vision.face import FaceError, FaceSquare
from serve_app.vision.scrfd import library_letterbox
from tests.standins import Standins
from tests.standins.graph import Graph
from tests.standins.nets import detector_model
from tests.standins.planting import STRIDES, marks

ENGINES = [(SCRFDEngine, "detector"), (ArcFaceEngine, "recogniser"), (InSwapperEngine, "swapper")]
EVERY = pytest.mark.parametrize(("engine", "role"), ENGINES, ids=[role for _, role in ENGINES])


def changed(path: Path, to: Path, change: Callable[[onnx.ModelProto], onnx.ModelProto | None]) -> Path:
    model = onnx.load(str(path))
    onnx.save(change(model) or model, str(to))
    return to


def half(model: onnx.ModelProto) -> None:
    """Weights, inputs and outputs in float16."""
    scales = {node.input[i] for node in model.graph.node if node.op_type == "Resize" for i in (1, 2)}  # stay float32
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in scales:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16


@EVERY
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_float16_files_run(narrow: Standins, tmp_path: Path, engine: Any, role: str, precision: str) -> None:
    path = changed(getattr(narrow, role), tmp_path / "half.onnx", half)
    made = engine(path, precision=precision, threads=1, buckets=(1, 2), measure=False)
    made.warm_up()
    assert made.buckets == (1, 2)


@EVERY
def test_newer_operator_sets_run(narrow: Standins, tmp_path: Path, engine: Any, role: str) -> None:
    path = changed(getattr(narrow, role), tmp_path / "new.onnx", lambda model: onnx.version_converter.convert_version(model, 17))
    engine(path, precision="exact", threads=1).warm_up()


@EVERY
def test_an_operator_set_of_the_future_is_refused_by_name(narrow: Standins, tmp_path: Path, engine: Any, role: str) -> None:
    path = changed(getattr(narrow, role), tmp_path / "future.onnx", lambda model: setattr(model.opset_import[0], "version", 99))
    with pytest.raises(RuntimeError, match=r"^future.onnx cannot be run here: ONNX Runtime cannot load this model: [^\n]+$"):
        engine(path, threads=1)


@EVERY
def test_inputs_that_are_no_floats_are_refused(narrow: Standins, tmp_path: Path, engine: Any, role: str) -> None:
    def bytes_in(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8

    with pytest.raises(RuntimeError, match=r"bytes.onnx is no.* its signature is \(\S+ uint8"):
        engine(changed(getattr(narrow, role), tmp_path / "bytes.onnx", bytes_in), threads=1)


def test_shapes_that_an_exporter_noted_hold_for_its_example_only(narrow: Standins, tmp_path: Path) -> None:
    def noted(model: onnx.ModelProto) -> onnx.ModelProto:
        for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 640, 640), strict=True):
            dim.dim_value = size
        return onnx.shape_inference.infer_shapes(model)

    path = changed(narrow.detector, tmp_path / "noted.onnx", noted)
    assert len(onnx.load(str(path)).graph.value_info) > 100
    engine = SCRFDEngine(path, sizes=(128, 640), precision="exact", threads=1, buckets=(1, 2), measure=False)
    engine.warm_up()
    assert engine.buckets == (1, 2)


def poisoned(graph: Graph, spreads: bool) -> str:
    """The input, or nothing but NaN where it is all white; it may take its company with it."""
    darkest = graph.node("ReduceMin", "input.1", axes=[1, 2, 3], keepdims=1)
    white = graph.node("Floor", graph.node("Add", darkest, graph.weight(np.float32(0.01))))
    zero = graph.node("Sub", graph.weight(np.float32(1)), graph.node("Clip", white, graph.weight(np.float32(0))))
    ratio = graph.node("Div", zero, zero)
    return graph.node("Mul", "input.1", graph.node("ReduceMean", ratio, axes=[0], keepdims=1) if spreads else ratio)


def recogniser(graph: Graph, x: str) -> onnx.ModelProto:
    mean = graph.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    graph.node("MatMul", mean, graph.weight(graph.random.standard_normal((3, 512))), to="683")
    return graph.model("recogniser", {"input.1": ["None", 3, 112, 112]}, {"683": [1, 512]})


def detector(graph: Graph, x: str) -> onnx.ModelProto:
    return detector_model(graph, [marks(graph, x, stride) for stride in STRIDES])


def crop(level: int) -> FaceSquare:
    return FaceSquare(np.full((112, 112, 3), level, np.uint8), np.zeros((5, 2), np.float32))


def frame(level: int) -> Any:
    return (library_letterbox(np.full((640, 640, 3), level, np.uint8), 640),)


@pytest.mark.parametrize("spreads", [False, True])
@pytest.mark.parametrize(("engine", "model", "item"), [(ArcFaceEngine, recogniser, crop), (SCRFDEngine, detector, frame)])
def test_a_poisoned_item_fails_alone(tmp_path: Path, engine: Any, model: Any, item: Any, spreads: bool) -> None:
    graph = Graph()
    onnx.save(model(graph, poisoned(graph, spreads)), str(tmp_path / "m.onnx"))
    made = engine(tmp_path / "m.onnx", precision="exact", threads=1, buckets=(1, 2, 4), measure=False)
    assert made.buckets == (1, 2, 4)
    items = [item(level) for level in (90, 255, 40, 20)]
    raws = made.run([made.pre(each) for each in items])
    with pytest.raises(FaceError):
        made.post(items[1], raws[1])
    for i in (0, 2, 3):
        made.post(items[i], raws[i])


@EVERY
def test_nothing_to_do_is_done(functional: Standins, engine: Any, role: str) -> None:
    assert engine(getattr(functional, role), precision="exact", threads=1).run([]) == []
