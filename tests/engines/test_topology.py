"""engines/topology.py: the canonical face out of the published metadata."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from serve_app.engines import weights
from serve_app.engines.topology import dump_topology, parse_topology, read_topology
from serve_app.vision.mesh import Topology
from tests.engines.nets import builtin


@pytest.fixture(scope="module")
def topology() -> Topology:
    return weights.load_topology(builtin())


def test_it_is_one_surface_with_one_edge_around_the_face(topology: Topology) -> None:
    edges = Counter(tuple(sorted((int(a), int(b)))) for t in topology.triangles for a, b in zip(t, np.roll(t, -1), strict=True))
    rim = {edge for edge, triangles in edges.items() if triangles == 1}
    assert set(edges.values()) == {1, 2}
    assert len(rim) == 36
    assert all(point in {end for edge in rim for end in edge} for point in (10, 152))  # forehead and chin
    assert len(topology.vertices) - len(edges) + len(topology.triangles) == 1  # a disc: eyes and mouth are closed


def test_left_and_right_mirror_each_other(topology: Topology) -> None:
    x, y, z = topology.vertices.T
    mx, my, mz = topology.vertices[topology.mirror].T
    assert max(np.abs(x + mx).max(), np.abs(y - my).max(), np.abs(z - mz).max()) < 0.1  # centimetres
    triangles = {frozenset(map(int, triangle)) for triangle in topology.triangles}
    assert {frozenset(map(int, topology.mirror[triangle])) for triangle in topology.triangles} == triangles
    assert topology.mirror[33] == 263


def test_axes_and_weights_are_as_the_solver_expects(topology: Topology) -> None:
    left_eye, right_eye, nose, forehead, chin = topology.vertices[[33, 263, 1, 10, 152]]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert chin[1] < nose[1] < forehead[1]
    assert nose[2] > max(left_eye[2], right_eye[2])
    assert np.count_nonzero(topology.rigid_weights) == 33
    assert topology.rigid_weights.sum() == pytest.approx(1.055, abs=1e-3)


def test_a_file_holds_all_of_it(topology: Topology, tmp_path: Path) -> None:
    (tmp_path / "topology.npz").write_bytes(dump_topology(topology))
    again = read_topology(tmp_path / "topology.npz")
    for name in ("vertices", "triangles", "mirror", "rigid_weights"):
        np.testing.assert_array_equal(getattr(again, name), getattr(topology, name))


@pytest.mark.parametrize("data", [b"", b"\x08\x01", b"\x12\x02\x08\x01", b"\x0b"])
def test_other_messages_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"metadata|wire type"):
        parse_topology(data)
