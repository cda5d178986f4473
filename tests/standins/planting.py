"""What makes a stand-in detector find the faces that a test put into a picture, and nothing else.

A planted face carries a mark in the cell of one anchor: red is a 2 x 2 chequer, green and blue are flat and say how large
the face is and which way it looks. The branch below reads marks; it is nothing beside the net it is added to.
"""

from __future__ import annotations

import numpy as np

from tests.standins.graph import Graph

STRIDES = (8, 16, 32)
ANCHORS = 2

# The five points of an aligned 112 px crop, its middle (0, 0), its border at 1.
POINTS = (np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]) - 56) / 56

REACH = 12.0  # green and blue 0..255 are -REACH/2..REACH/2 strides of cosine and sine
CONTRAST, SLOPE = 0.6, 6.0  # where the score is one half, and how steep it is there
MARGIN = 0.5  # what a net may add to the score's logit: its own opinion, too weak to make or unmake a face


def marks(graph: Graph, x: str, stride: int) -> tuple[str, str, str]:
    """Logits (N, 2, h, w), distances to the box (N, 8, h, w), five points (N, 20, h, w); strides are the unit.

    x: (N, 3, H, W) RGB, (value - 127.5) / 128.
    """
    half = stride // 2
    quarters = graph.node("AveragePool", x, kernel_shape=[half, half], strides=[half, half])
    weight = np.zeros((3, 3, 2, 2))
    weight[0, 0] = np.array([[0.5, -0.5], [-0.5, 0.5]]) * 128 / 255
    weight[1, 1] = weight[2, 2] = 0.25 * REACH * 128 / 255
    mark = graph.conv(quarters, weight, np.zeros(3), stride=2)
    chequer, turn = graph.channels(mark, 0, 1), graph.channels(mark, 1, 3)
    size = graph.node("ReduceL2", turn, axes=[1], keepdims=1)
    logits = graph.conv(chequer, np.full((ANCHORS, 1, 1, 1), SLOPE), np.full(ANCHORS, -SLOPE * CONTRAST))
    # An anchor stands in the upper left corner of its cell, a face in the middle.
    box = graph.conv(size, np.ones((ANCHORS * 4, 1, 1, 1)), np.tile([-0.5, -0.5, 0.5, 0.5], ANCHORS))
    turned = np.stack([np.stack([POINTS[:, 0], -POINTS[:, 1]], 1), np.stack([POINTS[:, 1], POINTS[:, 0]], 1)], 1)  # point, axis, (cos, sin)
    points = graph.conv(turn, np.tile(turned.reshape(10, 2, 1, 1), (ANCHORS, 1, 1, 1)), np.full(ANCHORS * 10, 0.5))
    return logits, box, points
