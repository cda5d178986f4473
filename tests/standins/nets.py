"""The layers of det_10g, w600k_r50 and inswapper_128 with random weights: same shapes and cost, or 1/8 of the channels.

Layers after the sources' own descriptions: ResNetV1e with PAFPN (SCRFD), IResNet-50 (ArcFace), the style-transfer
generator that ReSwapper rebuilt (INSwapper).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
from onnx import numpy_helper

from tests.standins.graph import Graph
from tests.standins.planting import ANCHORS, MARGIN, STRIDES, marks

FEATURES = 512
WIDTHS = (1, 4, 10)  # of a score, a box, five points


def detector(shrink: int = 1, *, seed: int = 1, batched: bool = False) -> onnx.ModelProto:
    """det_10g: `input.1` (1, 3, ?, ?). shrink: divides the channels. batched: as the newer export has it."""
    graph = Graph(seed)
    levels = _neck(graph, _backbone(graph, "input.1", shrink), max(2, 56 // shrink))
    heads = [_head(graph, level, stride, max(2, 56 // shrink), max(2, 80 // shrink)) for level, stride in zip(levels, STRIDES, strict=True)]
    return detector_model(graph, heads, batched=batched)


def detector_model(graph: Graph, heads: list[tuple[str, str, str]], *, batched: bool = False) -> onnx.ModelProto:
    """The nine outputs in the order and the shapes of the real file, or of the newer export with a batch axis.

    heads: for each stride the scores' logits, boxes and points, (N, anchors * width, h, w).
    """
    names = [["448", "451", "454"], ["471", "474", "477"], ["494", "497", "500"]]
    outputs: dict[str, list[int | str]] = {}
    for kind, width in enumerate(WIDTHS):
        for level, stride in enumerate(STRIDES):
            perm, shape = ([0, 2, 3, 1], [0, -1, width]) if batched else ([2, 3, 0, 1], [-1, width])
            x = graph.node("Transpose", heads[level][kind], perm=perm)
            x = graph.node("Reshape", x, graph.weight(np.array(shape, np.int64)))
            name = f"{('score', 'bbox', 'kps')[kind]}_{stride}" if batched else names[level][kind]
            graph.node("Identity" if kind else "Sigmoid", x, to=name)
            outputs[name] = ["?", "?", width] if batched else [(640 // stride) ** 2 * ANCHORS, width]
    return graph.model("detector", {"input.1": ["?" if batched else 1, 3, "?", "?"]}, outputs)


def _backbone(graph: Graph, x: str, shrink: int) -> list[tuple[str, int]]:
    stem = [3, *(max(2, width // shrink) for width in (28, 28, 56))]
    for number, (taken, given) in enumerate(pairwise(stem)):
        x = graph.node("Relu", graph.random_conv(x, taken, given, 3, stride=1 if number else 2, pad=1))
    x, width, found = graph.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), stem[-1], []
    for stage, (planes, blocks) in enumerate(((56, 3), (88, 4), (88, 2), (224, 3))):
        given = max(2, planes // shrink)
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = graph.node("Relu", graph.random_conv(x, width, given, 3, stride=stride, pad=1))
            y = graph.random_conv(y, given, given, 3, pad=1, gain=0.5)
            if stride == 2:
                x = graph.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
            if stride == 2 or width != given:
                x = graph.random_conv(x, width, given, 1, gain=np.sqrt(0.5))
            x, width = graph.node("Relu", graph.node("Add", y, x)), given
        found.append((x, width))
    return found[1:]


def _neck(graph: Graph, stages: list[tuple[str, int]], width: int) -> list[str]:
    lateral = [graph.random_conv(x, taken, width, 1, gain=np.sqrt(0.5)) for x, taken in stages]
    for level in (2, 1):
        lateral[level - 1] = graph.node("Add", lateral[level - 1], _twice(graph, lateral[level], "nearest"))
    inner = [graph.random_conv(x, width, width, 3, pad=1, gain=np.sqrt(0.5)) for x in lateral]
    for level in (0, 1):
        down = graph.random_conv(inner[level], width, width, 3, stride=2, pad=1, gain=np.sqrt(0.5))
        inner[level + 1] = graph.node("Add", inner[level + 1], down)
    return [inner[0], *(graph.random_conv(x, width, width, 3, pad=1, gain=np.sqrt(0.5)) for x in inner[1:])]


def _head(graph: Graph, x: str, stride: int, width: int, hidden: int) -> tuple[str, str, str]:
    """What the marks say, and a little of what the net says, which must not decide."""
    for taken in (width, hidden, hidden):
        x = graph.node("Relu", graph.random_conv(x, taken, hidden, 3, pad=1))
    planted = marks(graph, "input.1", stride)
    found = []
    for mark, size, loud in zip(planted, WIDTHS, (MARGIN, 0.2, 0.08), strict=True):
        own = graph.node("Tanh", graph.random_conv(x, hidden, ANCHORS * size, 3, pad=1, gain=0.1))
        found.append(graph.node("Add", mark, graph.node("Mul", own, graph.weight(np.float32(loud)))))
    return found[0], found[1], found[2]


def _twice(graph: Graph, x: str, mode: str) -> str:
    how = {"nearest": ("asymmetric", "floor"), "linear": ("pytorch_half_pixel", "floor")}[mode]
    sizes = graph.weight(np.zeros(0, np.float32)), graph.weight(np.array([1, 1, 2, 2], np.float32))
    return graph.node("Resize", x, *sizes, mode=mode, coordinate_transformation_mode=how[0], nearest_mode=how[1])


def recogniser(shrink: int = 1, *, seed: int = 2) -> onnx.ModelProto:
    """w600k_r50: `input.1` (None, 3, 112, 112) -> `683` (1, 512), as declared; it takes any batch."""
    graph = Graph(seed)

    def norm(x: str, width: int) -> str:
        one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
        return graph.node("BatchNormalization", x, *map(graph.weight, (one, zero, zero, one)), epsilon=1e-5, momentum=0.9)

    def bent(x: str, width: int) -> str:
        return graph.node("PRelu", x, graph.weight(np.full((width, 1, 1), 0.25, np.float32)))

    width = max(2, 64 // shrink)
    x = bent(graph.random_conv("input.1", 3, width, 3, pad=1), width)
    for planes, blocks in ((64, 3), (128, 4), (256, 14), (512, 3)):
        given = max(2, planes // shrink)
        for block in range(blocks):
            y = bent(graph.random_conv(norm(x, width), width, given, 3, pad=1), given)
            y = graph.random_conv(y, given, given, 3, stride=1 if block else 2, pad=1, gain=0.3)
            if not block:
                x = graph.random_conv(x, width, given, 1, stride=2, gain=np.sqrt(0.5))
            x, width = graph.node("Add", y, x), given
    x = graph.node("Flatten", norm(x, width), axis=1)
    weight = graph.random.standard_normal((FEATURES, width * 49), dtype=np.float32) * np.float32(1 / np.sqrt(width * 49))
    x = graph.node("Gemm", x, graph.weight(weight), graph.weight(np.zeros(FEATURES, np.float32)), alpha=1.0, beta=1.0, transB=1)
    one, zero = np.ones(FEATURES, np.float32), np.zeros(FEATURES, np.float32)
    graph.node("BatchNormalization", x, *map(graph.weight, (one, zero, zero, one)), to="683", epsilon=1e-5)
    return graph.model("recogniser", {"input.1": ["None", 3, 112, 112]}, {"683": [1, FEATURES]})


def swapper(shrink: int = 1, *, seed: int = 3) -> onnx.ModelProto:
    """inswapper_128: `target` (1, 3, 128, 128), `source` (1, 512) -> `output` (1, 3, 128, 128), all in 0..1; last weight `buff2fs`."""
    graph = Graph(seed)
    one, tiny = graph.weight(np.float32(1.0)), graph.weight(np.float32(1e-8))
    w128, w256, w512, w1024 = (max(4, width // shrink) for width in (128, 256, 512, 1024))

    def border(x: str, size: int) -> str:
        return graph.node("Pad", x, graph.weight(np.array([0, 0, size, size] * 2, np.int64)), mode="reflect")

    def bent(x: str, taken: int, given: int, side: int, stride: int = 1, pad: int = 0) -> str:
        return graph.node("LeakyRelu", graph.random_conv(x, taken, given, side, stride=stride, pad=pad), alpha=0.2)

    def style() -> tuple[str, str]:
        weight = graph.random.standard_normal((2 * w1024, FEATURES), dtype=np.float32) * np.float32(0.04)
        bias = np.concatenate([np.ones(w1024, np.float32), np.zeros(w1024, np.float32)])
        y = graph.node("Gemm", "source", graph.weight(weight), graph.weight(bias), alpha=1.0, beta=1.0, transB=1)
        y = graph.node("Unsqueeze", graph.node("Unsqueeze", y, axes=[2]), axes=[3])
        return graph.channels(y, 0, w1024), graph.channels(y, w1024, 2 * w1024)

    def instance_norm(x: str) -> str:
        centred = graph.node("Sub", x, graph.node("ReduceMean", x, axes=[2, 3], keepdims=1))
        spread = graph.node("ReduceMean", graph.node("Mul", centred, centred), axes=[2, 3], keepdims=1)
        return graph.node("Mul", centred, graph.node("Div", one, graph.node("Sqrt", graph.node("Add", spread, tiny))))

    x = bent(border("target", 3), 3, w128, 7)
    for taken, given, stride in ((w128, w256, 1), (w256, w512, 2), (w512, w1024, 2)):
        x = bent(x, taken, given, 3, stride, 1)
    for _ in range(6):
        y = x
        for turn in range(2):
            scale, shift = style()
            y = instance_norm(graph.random_conv(border(y, 1), w1024, w1024, 3))
            y = graph.node("Add", graph.node("Mul", y, scale), shift)
            y = y if turn else graph.node("Relu", y)
        x = graph.node("Add", x, y)
    x = bent(_twice(graph, x, "linear"), w1024, w512, 3, pad=1)
    x = bent(_twice(graph, x, "linear"), w512, w256, 3, pad=1)
    x = border(bent(x, w256, w128, 3, pad=1), 3)
    x = graph.node("Add", graph.node("Tanh", graph.random_conv(x, w128, 3, 7, gain=0.3)), one)
    graph.node("Div", x, graph.weight(np.float32(2.0)), to="output")
    return swapper_model(graph, np.eye(FEATURES) + graph.random.standard_normal((FEATURES, FEATURES)) * 0.01)


def swapper_model(graph: Graph, emap: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> onnx.ModelProto:
    """emap: (512, 512), from an embedding to a latent; no node uses it."""
    inputs: dict[str, list[int | str]] = {"target": [1, 3, 128, 128], "source": [1, FEATURES]}
    last = numpy_helper.from_array(emap.astype(np.float32), "buff2fs")
    return graph.model("swapper", inputs, {"output": [1, 3, 128, 128]}, last)
