"""The canonical face out of MediaPipe's geometry metadata, and its file.

The metadata is a protocol buffer (mediapipe/tasks/cc/vision/face_geometry/proto/geometry_pipeline_metadata.proto);
the few fields needed are read from the wire format, so that no generated code has to be carried.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from serve_app.vision.face import Floats
from serve_app.vision.mesh import Indices, Topology

# Field numbers: of GeometryPipelineMetadata, of Mesh3d, of WeightedLandmarkRef.
MESH, LANDMARK = 1, 2
VERTICES, INDICES = 3, 4
LANDMARK_ID, WEIGHT = 1, 2
VERTEX_FLOATS = 5  # x y z u v


def parse_topology(metadata: bytes) -> Topology:
    """The face of a serialized GeometryPipelineMetadata. Raises ValueError when it is not one."""
    fields = list(_fields(metadata))
    mesh = [(number, value) for number, value in _fields(_only(fields, MESH)) if number in (VERTICES, INDICES)]
    floats = b"".join(value for number, value in mesh if number == VERTICES and isinstance(value, bytes))
    indices = [value for number, value in mesh if number == INDICES and isinstance(value, int)]
    vertices = np.frombuffer(floats, "<f4").reshape(-1, VERTEX_FLOATS)[:, :3].astype(np.float32)
    rigid = np.zeros(len(vertices))
    for number, value in fields:
        if number == LANDMARK and isinstance(value, bytes):
            reference = dict(_fields(value))
            point, weight = reference.get(LANDMARK_ID, 0), reference.get(WEIGHT)
            if not isinstance(point, int) or not isinstance(weight, bytes):
                raise ValueError("not the geometry metadata of a face")
            rigid[point] = np.frombuffer(weight, "<f4")[0]
    return Topology(vertices, np.array(indices, np.intp).reshape(-1, 3), _mirror(vertices), rigid)


def dump_topology(topology: Topology) -> bytes:
    """As an .npz file; the same bytes each time."""
    buffer = io.BytesIO()
    np.savez(buffer, vertices=topology.vertices, triangles=topology.triangles, mirror=topology.mirror, rigid_weights=topology.rigid_weights)
    return buffer.getvalue()


def read_topology(path: Path) -> Topology:
    """What dump_topology() made."""
    with np.load(path, allow_pickle=False) as file:
        return Topology(**{name: file[name] for name in ("vertices", "triangles", "mirror", "rigid_weights")})


def _mirror(vertices: Floats) -> Indices:
    """Of each vertex the one nearest to its mirror image (x negated); a vertex on the middle is its own."""
    images = vertices * np.array([-1, 1, 1], np.float32)
    nearest: Indices = np.linalg.norm(vertices[None] - images[:, None], axis=-1).argmin(1)
    return nearest


def _only(fields: list[tuple[int, int | bytes]], number: int) -> bytes:
    values = [value for n, value in fields if n == number]
    if len(values) != 1 or not isinstance(values[0], bytes):
        raise ValueError("not the geometry metadata of a face")
    return values[0]


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: int for a varint, bytes for everything else."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = {1: 8, 5: 4}[wire]
        else:
            raise ValueError(f"wire type {wire} of a protocol buffer is not read")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
