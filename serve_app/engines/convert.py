"""The built-in models' files as they are published, made into the files that the engines run.

Both nets are made to take pictures as they lie in memory: uint8, BGR, (n, height, width, 3). The order of channels and
the scale of values move into the first convolution's weights, where they cost nothing; a batch is a `numpy.stack`.
"""

from __future__ import annotations

import io
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serve_app.engines.tflite_to_onnx import tflite_to_onnx

IMAGE = "image"


def centerface(published: bytes) -> bytes:
    """CenterFace's ONNX file (Star-Clouds/CenterFace, pytorch 1.2) -> ONNX.

    image (n, height, width, 3) uint8 BGR, sides multiples of 32 -> score (n, 1, h, w), size (n, 2, h, w),
    offset (n, 2, h, w), points (n, 10, h, w), all float32, h and w a quarter of the image's.
    """
    model = onnx.load_from_string(published)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    # The file lists its weights as inputs, which forbids every runtime to fold them into each other (103 -> 45 ms).
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = 8
    _rename_outputs(graph, {"537": "score", "538": "size", "539": "offset", "540": "points"})
    _take_pictures(graph, "height", "width", scale=1.0)
    return _finished(model)


def face_mesh(landmarker: bytes) -> bytes:
    """MediaPipe's face_landmarker.task (a zip) -> the ONNX file of its 478-point net.

    image (n, 256, 256, 3) uint8 BGR -> points (n, 1434) float32, x y z of each in pixels of the image;
    presence (n, 1) float32, a logit.
    """
    model = tflite_to_onnx(_member(landmarker, "face_landmarks_detector.tflite"), {"Identity": "points", "Identity_1": "presence"})
    _take_pictures(model.graph, 256, 256, scale=1 / 255)
    return _finished(model)


def geometry_metadata(landmarker: bytes) -> bytes:
    """MediaPipe's face_landmarker.task (a zip) -> its canonical face, a serialized GeometryPipelineMetadata."""
    return _member(landmarker, "geometry_pipeline_metadata_landmarks.binarypb")


def _member(archive: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as z:
        return z.read(name)


def _rename_outputs(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                field[i] = names.get(name, name)
    values = [
        helper.make_tensor_value_info(names[value.name], TensorProto.FLOAT, ["n", value.type.tensor_type.shape.dim[1].dim_value, "h", "w"])
        for value in graph.output
    ]
    del graph.output[:]
    graph.output.extend(values)


def _take_pictures(graph: onnx.GraphProto, height: int | str, width: int | str, *, scale: float) -> None:
    """Replace the one input, float32 RGB (n, 3, h, w) times `scale`, by uint8 BGR (n, h, w, 3)."""
    (old,) = (value.name for value in graph.input)
    (first,) = (node for node in graph.node if old in node.input)
    (weight,) = (tensor for tensor in graph.initializer if tensor.name == first.input[1])
    kernel = numpy_helper.to_array(weight)[:, ::-1] * np.float32(scale)
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(kernel), weight.name))
    nodes = [
        helper.make_node("Transpose", [IMAGE], ["planes"], name="planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], [old], name="floats", to=TensorProto.FLOAT),
        *graph.node,
    ]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["n", height, width, 3]))


def _finished(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
