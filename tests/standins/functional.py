"""Three tiny nets with the real signatures whose answers can be worked out by hand.

The recogniser sees the colour around the middle of a crop, the swapper paints the source's colour with the target's
texture: a result says which face was swapped with whom.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx

from serve_app.vision.face import Floats, Matrix
from tests.standins.graph import Graph
from tests.standins.nets import FEATURES, detector_model, swapper_model
from tests.standins.planting import STRIDES, marks

TEXTURE = 0.5  # of the target's deviation from its mean, that stays


@cache
def _bases() -> tuple[Matrix, Matrix]:
    """Where red, green, blue and 1 go in an embedding, (512, 4), and the map from embeddings to latents, (512, 512)."""
    random = np.random.default_rng(7)
    columns = np.linalg.qr(random.standard_normal((FEATURES, 4)))[0]
    return columns, np.linalg.qr(random.standard_normal((FEATURES, FEATURES)))[0]


def embedding_of(colour: tuple[int, int, int]) -> Floats:
    """The raw embedding (512,) of a face of this BGR colour."""
    return (_bases()[0] @ [*(value / 255 for value in reversed(colour)), 1.0]).astype(np.float32)


def colour_of(embedding: Floats) -> tuple[float, float, float]:
    """The BGR colour, 0..255, that an embedding of any length stands for."""
    red, green, blue, one = np.asarray(embedding, np.float64) @ _bases()[0]
    return blue / one * 255, green / one * 255, red / one * 255


def detector(*, batched: bool = False) -> onnx.ModelProto:
    graph = Graph()
    return detector_model(graph, [marks(graph, "input.1", stride) for stride in STRIDES], batched=batched)


def recogniser() -> onnx.ModelProto:
    graph, side = Graph(), 112
    ring = np.ones((1, 1, side, side))
    ring[..., side // 5 : -(side // 5), side // 5 : -(side // 5)] = 0  # the mark is there
    ring *= ring.size / ring.sum() / 2  # of (value - 127.5) / 127.5, whose half is value / 255 - 0.5
    mean = graph.node("ReduceMean", graph.node("Mul", "input.1", graph.weight(ring)), axes=[2, 3], keepdims=0)
    columns = _bases()[0]
    bias = columns @ [0.5, 0.5, 0.5, 1.0]
    graph.node("Gemm", mean, graph.weight(columns[:, :3]), graph.weight(bias), transB=1, to="683")
    return graph.model("recogniser", {"input.1": ["None", 3, side, side]}, {"683": [1, FEATURES]})


def swapper() -> onnx.ModelProto:
    graph = Graph()
    columns, emap = _bases()
    said = graph.node("Gemm", "source", graph.weight(emap.T @ columns), graph.weight(np.zeros(4)))
    colour = graph.node("Div", graph.channels(said, 0, 3), graph.channels(said, 3, 4))
    colour = graph.node("Unsqueeze", colour, axes=[2, 3])
    texture = graph.node("Sub", "target", graph.node("ReduceMean", "target", axes=[2, 3], keepdims=1))
    graph.node("Add", colour, graph.node("Mul", texture, graph.weight(np.float32(TEXTURE))), to="output")
    return swapper_model(graph, emap)
