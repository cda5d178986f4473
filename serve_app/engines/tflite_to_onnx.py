"""From TensorFlow Lite to ONNX: the nine operations of MediaPipe's face nets, and a clear refusal of any other.

Images become NCHW. Half precision weights, which TensorFlow Lite widens at run time, are stored as float32: the same
numbers. Nothing here depends on time, names of files or hash order, so a file converts to the same bytes each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import tflite
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

OPSET = 17
DTYPES = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16, tflite.TensorType.INT32: np.int32}


def tflite_to_onnx(data: bytes, outputs: Mapping[str, str]) -> onnx.ModelProto:
    """The first subgraph of `data`, a .tflite file.

    Input: the file's own, float32, (N, H, W, C) turned into ("n", C, H, W). outputs: which outputs to keep, old name ->
    new name; each becomes ("n", elements). Raises ValueError for what is not converted.
    """
    return _Conversion(data).model(outputs)


class _Conversion:
    def __init__(self, data: bytes) -> None:
        self.file = tflite.Model.GetRootAs(data)
        self.graph = self.file.Subgraphs(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self.constants = {i: a for i in range(self.graph.TensorsLength()) if (a := self._stored(i)) is not None}

    def model(self, outputs: Mapping[str, str]) -> onnx.ModelProto:
        for i in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(i)
            code = self.file.OperatorCodes(operator.OpcodeIndex())
            name = tflite.opcode2name(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
            if name not in HANDLERS:
                raise ValueError(f"{name} is not converted")
            HANDLERS[name](self, operator)
        image = int(self.graph.Inputs(0))
        _, height, width, channels = self.shape(image)
        kept = {self._file_name(i): i for i in self.graph.OutputsAsNumpy().tolist()}
        if missing := outputs.keys() - kept.keys():
            raise ValueError(f"no output {sorted(missing)}, there are {sorted(kept)}")
        results = []
        for old, new in outputs.items():
            self.emit("Flatten", [_name(kept[old])], new)
            results.append(helper.make_tensor_value_info(new, TensorProto.FLOAT, ["n", int(np.prod(self.shape(kept[old])[1:]))]))
        graph = helper.make_graph(
            _needed(self.nodes, set(outputs.values())),
            "faces",
            [helper.make_tensor_value_info(_name(image), TensorProto.FLOAT, ["n", channels, height, width])],
            results,
        )
        used = {name for node in graph.node for name in node.input}
        graph.initializer.extend(weight for name, weight in self.weights.items() if name in used)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)

    def shape(self, tensor: int) -> list[int]:
        t = self.graph.Tensors(tensor)
        return [] if t.ShapeIsNone() else [int(n) for n in t.ShapeAsNumpy()]

    def emit(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes))

    def weight(self, tensor: int, axes: tuple[int, ...] = (0,)) -> str:
        """A constant as float32 with its axes in ONNX's order; its name."""
        values = self.constants[tensor].astype(np.float32).transpose(axes)
        return self._add(f"w{tensor}", values)

    def _add(self, name: str, values: Array) -> str:
        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def _stored(self, tensor: int) -> Array | None:
        t = self.graph.Tensors(tensor)
        buffer = self.file.Buffers(t.Buffer())
        if not buffer.DataLength():
            return None
        return np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[t.Type()]).reshape(self.shape(tensor))

    def _file_name(self, tensor: int) -> str:
        name: bytes = self.graph.Tensors(tensor).Name()
        return name.decode()

    # One method an operation. `op` is the flatbuffer's operator; x and y are its first input and its output.

    def widen(self, op: Any) -> None:
        source, result = int(op.Inputs(0)), int(op.Outputs(0))
        if source not in self.constants:
            raise ValueError("DEQUANTIZE of a computed tensor is not converted")
        self.constants[result] = self.constants[source].astype(np.float32)

    def convolution(self, op: Any) -> None:
        self._convolution(op, _options(op, tflite.Conv2DOptions), (0, 3, 1, 2), depthwise=False)

    def depthwise(self, op: Any) -> None:
        self._convolution(op, _options(op, tflite.DepthwiseConv2DOptions), (3, 0, 1, 2), depthwise=True)

    def _convolution(self, op: Any, options: Any, axes: tuple[int, ...], *, depthwise: bool) -> None:
        _plain(options)
        x, kernel, bias = (int(i) for i in op.InputsAsNumpy())
        _, height, width, channels = self.shape(kernel)
        if options.DilationHFactor() != 1 or options.DilationWFactor() != 1:
            raise ValueError("a dilated convolution is not converted")
        self.emit(
            "Conv",
            [_name(x), self.weight(kernel, axes), self.weight(bias)],
            _name(op.Outputs(0)),
            kernel_shape=[height, width],
            strides=[options.StrideH(), options.StrideW()],
            pads=self._pads(options, x, (height, width)),
            group=channels if depthwise else 1,
        )

    def pool(self, op: Any) -> None:
        options = _options(op, tflite.Pool2DOptions)
        _plain(options)
        window = (options.FilterHeight(), options.FilterWidth())
        pads = self._pads(options, int(op.Inputs(0)), window)
        self.emit(
            "MaxPool",
            [_name(op.Inputs(0))],
            _name(op.Outputs(0)),
            kernel_shape=window,
            strides=[options.StrideH(), options.StrideW()],
            pads=pads,
        )

    def _pads(self, options: Any, tensor: int, window: tuple[int, int]) -> list[int]:
        """Top, left, bottom, right; "same" puts the odd pixel at the bottom and right."""
        if options.Padding() == tflite.Padding.VALID:
            return [0, 0, 0, 0]
        sizes, strides = self.shape(tensor)[1:3], (options.StrideH(), options.StrideW())
        totals = [
            max((-(-size // stride) - 1) * stride + side - size, 0) for size, stride, side in zip(sizes, strides, window, strict=True)
        ]
        return [total // 2 for total in totals] + [total - total // 2 for total in totals]

    def prelu(self, op: Any) -> None:
        slope = int(op.Inputs(1))
        if self.shape(slope)[:2] != [1, 1]:
            raise ValueError("a PRELU with a slope per pixel is not converted")
        self.emit("PRelu", [_name(op.Inputs(0)), self.weight(slope, (2, 0, 1))], _name(op.Outputs(0)))

    def add(self, op: Any) -> None:
        _plain(_options(op, tflite.AddOptions))
        self.emit("Add", [_name(i) for i in op.InputsAsNumpy()], _name(op.Outputs(0)))

    def pad(self, op: Any) -> None:
        pads = self.constants[int(op.Inputs(1))][[0, 3, 1, 2]].T.reshape(-1)
        y = _name(op.Outputs(0))
        self.emit("Pad", [_name(op.Inputs(0)), self._add(f"pads_{y}", pads.astype(np.int64))], y)

    def sigmoid(self, op: Any) -> None:
        self.emit("Sigmoid", [_name(op.Inputs(0))], _name(op.Outputs(0)))

    def reshape(self, op: Any) -> None:
        if self.shape(int(op.Inputs(0)))[1:3] != [1, 1]:  # else the axes' order would matter
            raise ValueError("RESHAPE of more than one pixel is not converted")
        self.emit("Flatten", [_name(op.Inputs(0))], _name(op.Outputs(0)))


HANDLERS: dict[str, Callable[[_Conversion, Any], None]] = {
    "ADD": _Conversion.add,
    "CONV_2D": _Conversion.convolution,
    "DEPTHWISE_CONV_2D": _Conversion.depthwise,
    "DEQUANTIZE": _Conversion.widen,
    "LOGISTIC": _Conversion.sigmoid,
    "MAX_POOL_2D": _Conversion.pool,
    "PAD": _Conversion.pad,
    "PRELU": _Conversion.prelu,
    "RESHAPE": _Conversion.reshape,
}


def _name(tensor: int) -> str:
    return f"t{int(tensor)}"


def _options(op: Any, kind: Any) -> Any:
    table, options = op.BuiltinOptions(), kind()
    options.Init(table.Bytes, table.Pos)
    return options


def _plain(options: Any) -> None:
    if options.FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
        raise ValueError("a fused activation is not converted")


def _needed(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that the wanted tensors depend on, in order."""
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted = wanted | set(node.input)
            kept.append(node)
    return kept[::-1]
