"""A few lines over onnx.helper: nodes are written in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 11, 6  # what the real files have

Ports = Mapping[str, Sequence[int | str]]


class Graph:
    """Nodes and weights of one net. A tensor is its name; `random` draws every weight, so a seed makes the file."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._count = 0

    def _name(self, start: str) -> str:
        self._count += 1
        return f"{start}{self._count}"

    def weight(self, values: NDArray[Any] | np.float32, name: str | None = None) -> str:
        array = np.asarray(values)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = name or self._name("w")
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def node(self, kind: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        output = to or self._name("t")
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def conv(self, x: str, weight: NDArray[Any], bias: NDArray[Any], *, stride: int = 1, pad: int = 0) -> str:
        side = weight.shape[2]
        return self.node(
            "Conv", x, self.weight(weight), self.weight(bias), kernel_shape=[side, side], strides=[stride, stride], pads=[pad] * 4
        )

    def random_conv(self, x: str, taken: int, given: int, side: int, *, stride: int = 1, pad: int = 0, gain: float = 1.0) -> str:
        """A convolution whose output is as loud as its input after a ReLU."""
        weight = self.random.standard_normal((given, taken, side, side), dtype=np.float32)
        weight *= np.float32(gain * np.sqrt(2 / (taken * side * side)))
        return self.conv(x, weight, np.zeros(given, np.float32), stride=stride, pad=pad)

    def channels(self, x: str, start: int, stop: int) -> str:
        return self.node("Slice", x, *(self.weight(np.array([value], np.int64)) for value in (start, stop, 1)))

    def model(self, name: str, inputs: Ports, outputs: Ports, unused: onnx.TensorProto | None = None) -> onnx.ModelProto:
        """unused: a weight that no node takes, behind all others."""
        weights = [*self._weights, unused] if unused is not None else self._weights
        graph = helper.make_graph(self._nodes, name, _described(inputs), _described(outputs), weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="standin")
        model.ir_version = IR_VERSION
        return model


def _described(ports: Ports) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in ports.items()]
