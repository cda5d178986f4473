"""A stand-in detector whose keypoints are wrong in a way that the planted face chooses: stride 16 is right."""

from __future__ import annotations

import numpy as np
import onnx

from tests.standins.graph import Graph
from tests.standins.nets import detector_model
from tests.standins.planting import ANCHORS, POINTS, REACH, STRIDES, marks

FAR = 60.0  # strides

# Stride and angle of a planted face.
ONE_SPOT, FAR_AWAY = (8, 0.0), (8, np.pi)
MIRRORED, NOT_A_NUMBER = (32, 0.0), (32, np.pi)


def detector() -> onnx.ModelProto:
    graph = Graph()
    heads = [marks(graph, "input.1", stride) for stride in STRIDES]
    (fine, coarse) = ((*heads[at][:2], points) for at, points in ((0, _fine(graph)), (2, _coarse(graph))))
    return detector_model(graph, [fine, heads[1], coarse])


def _fine(graph: Graph) -> str:
    """All five on one spot, or far away for a face upside down."""
    _, turn = _mark(graph, 8)
    away = graph.node("Relu", graph.conv(turn, np.array([-1.0, 0.0]).reshape(1, 2, 1, 1), np.zeros(1)))
    return graph.conv(away, np.tile((POINTS + FAR).reshape(10, 1, 1, 1), (ANCHORS, 1, 1, 1)), np.full(ANCHORS * 10, 0.5))


def _coarse(graph: Graph) -> str:
    """Left and right exchanged, and no numbers for a face upside down."""
    chequer, turn = _mark(graph, 32)
    swapped = POINTS[[1, 0, 2, 4, 3]]
    turned = np.stack([np.stack([swapped[:, 0], -swapped[:, 1]], 1), np.stack([swapped[:, 1], swapped[:, 0]], 1)], 1)
    points = graph.conv(turn, np.tile(turned.reshape(10, 2, 1, 1), (ANCHORS, 1, 1, 1)), np.full(ANCHORS * 10, 0.5))
    away = graph.node("Relu", graph.conv(turn, np.array([-1.0, 0.0]).reshape(1, 2, 1, 1), np.zeros(1)))
    below = graph.node("Sub", graph.weight(np.float32(0.5)), graph.node("Mul", chequer, away))
    return graph.node("Add", points, graph.node("Mul", graph.node("Sqrt", below), graph.weight(np.float32(1e-6))))


def _mark(graph: Graph, stride: int) -> tuple[str, str]:
    """The chequer and the turn of each cell, as `marks` reads them."""
    half = stride // 2
    quarters = graph.node("AveragePool", "input.1", kernel_shape=[half, half], strides=[half, half])
    weight = np.zeros((3, 3, 2, 2))
    weight[0, 0] = np.array([[0.5, -0.5], [-0.5, 0.5]]) * 128 / 255
    weight[1, 1] = weight[2, 2] = 0.25 * REACH * 128 / 255
    mark = graph.conv(quarters, weight, np.zeros(3), stride=2)
    return graph.channels(mark, 0, 1), graph.channels(mark, 1, 3)
