"""engines/convert.py and tflite_to_onnx.py: the converted nets answer as the published ones do."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest

from serve_app.engines import convert, weights
from serve_app.engines.session import OnnxRuntimeSession
from serve_app.engines.tflite_to_onnx import tflite_to_onnx
from serve_app.vision.face import Pixels
from tests.engines.nets import builtin, squares


def landmarker(member: str) -> bytes:
    with zipfile.ZipFile(builtin() / "source" / weights.LANDMARKER_SOURCE.name) as task:
        return task.read(member)


def faces(side: int) -> Pixels:
    """(8, side, side, 3), cut out of the eight real squares."""
    return np.stack([face.pixels[:side, :side] for face in squares()])


def test_face_mesh_answers_as_the_published_file_does_in_another_runtime(tmp_path: Path) -> None:
    published = tmp_path / "published.tflite"
    published.write_bytes(landmarker("face_landmarks_detector.tflite"))
    pictures = np.concatenate([face.pixels[None].repeat(2, 1).repeat(2, 2)[:, :256, :256] for face in squares()])
    compiled = openvino.Core().compile_model(openvino.Core().read_model(published), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = compiled((pictures[..., ::-1] / np.float32(255)).astype(np.float32))
    points, presence = OnnxRuntimeSession(builtin() / weights.FACEMESH, threads=1).run({convert.IMAGE: pictures})
    np.testing.assert_allclose(points, expected[0].reshape(8, 1434), atol=2e-3)  # pixels of 256; measured 3e-4
    np.testing.assert_allclose(presence, expected[1].reshape(8, 1), atol=1e-3)


def test_centerface_answers_as_the_published_file_does() -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of every weight that is listed as an input
    published = onnxruntime.InferenceSession(
        str(builtin() / "source" / weights.CENTERFACE_SOURCE.name), options, providers=["CPUExecutionProvider"]
    )
    patches = np.concatenate([faces(64)[:, :32, :32], faces(64)[:2, 32:, 32:]])  # the published file takes ten pictures of 32 x 32
    expected = published.run(None, {"input.1": patches[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)})
    outputs = OnnxRuntimeSession(builtin() / weights.CENTERFACE, threads=1).run({convert.IMAGE: patches})
    for output, other in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, other, atol=1e-4)


@pytest.mark.parametrize("name", [weights.CENTERFACE, weights.FACEMESH])
def test_weights_are_no_inputs_so_that_runtimes_may_fold_them(name: str) -> None:
    graph = onnx.load(builtin() / name).graph
    assert [value.name for value in graph.input] == [convert.IMAGE]


def test_operations_that_are_not_converted_are_named() -> None:
    with pytest.raises(ValueError, match=r"^[A-Z_]+ is not converted$"):
        tflite_to_onnx(landmarker("face_blendshapes.tflite"), {})


def test_an_output_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"no output \['Tongue'\], there are \['Identity'"):
        tflite_to_onnx(landmarker("face_landmarks_detector.tflite"), {"Tongue": "tongue"})


def test_what_is_not_the_published_archive_is_refused() -> None:
    with pytest.raises(zipfile.BadZipFile):
        convert.face_mesh(b"not a zip")
