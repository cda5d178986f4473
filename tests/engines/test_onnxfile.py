"""engines/onnxfile.py: what an ONNX file says, read without its weights, and what is no ONNX file."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from serve_app.engines.onnxfile import OnnxFileError, read_signature, read_weight, reshaped
from serve_app.engines.session import OnnxRuntimeSession
from tests.standins import Standins


def test_signatures_are_what_onnx_itself_reads(narrow: Standins) -> None:
    for path in (narrow.detector, narrow.recogniser, narrow.swapper):
        signature, model = read_signature(path), onnx.load(str(path))
        assert [tensor.name for tensor in signature.inputs] == [value.name for value in model.graph.input]
        assert [tensor.name for tensor in signature.outputs] == [value.name for value in model.graph.output]
        assert [weight.name for weight in signature.weights] == [weight.name for weight in model.graph.initializer]
        assert [weight.shape for weight in signature.weights] == [tuple(weight.dims) for weight in model.graph.initializer]
        for weight, expected in list(zip(signature.weights, model.graph.initializer, strict=True))[-3:]:
            assert np.array_equal(read_weight(path, weight), numpy_helper.to_array(expected))
    assert str(read_signature(narrow.swapper)) == ("(target float32[1,3,128,128], source float32[1,512]) -> (output float32[1,3,128,128])")
    assert [weight.name for weight in read_signature(narrow.swapper).weights if not weight.used] == ["buff2fs"]


def test_only_the_shapes_change(narrow: Standins) -> None:
    path = narrow.swapper
    assert path.stat().st_size > 1_000_000
    edited, model = onnx.load_model_from_string(reshaped(path)), onnx.load(str(path))
    for graph in (edited.graph, model.graph):
        del graph.input[:], graph.output[:]
    assert edited == model


def test_a_file_whose_batch_was_fixed_takes_any(narrow: Standins) -> None:
    random = np.random.default_rng(0)
    inputs = {"target": random.random((3, 3, 128, 128), np.float32), "source": random.random((3, 512), np.float32)}
    with pytest.raises(Exception, match="invalid dimensions"):
        OnnxRuntimeSession(narrow.swapper, threads=1).run(inputs)
    (output,) = OnnxRuntimeSession(reshaped(narrow.swapper), threads=1).run(inputs)
    assert output.shape == (3, 3, 128, 128)


def test_reading_takes_no_time_and_no_memory_for_weights(tmp_path: Path, narrow: Standins) -> None:
    model = onnx.load(str(narrow.swapper))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((4096, 8192), np.float32), "large"))
    onnx.save(model, str(tmp_path / "large.onnx"))
    assert (tmp_path / "large.onnx").stat().st_size > 130_000_000
    start = time.process_time()
    signature = read_signature(tmp_path / "large.onnx")
    assert time.process_time() - start < 0.5
    assert signature.weights[-1].shape == (4096, 8192)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "m.onnx is empty"),
        (b"<!DOCTYPE html><html><body>Too many requests</body></html>", "m.onnx is a web page"),
        (b"\n  <html lang=en>", "m.onnx is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "m.onnx is a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(50), "m.onnx is an archive"),
        (b'{"message": "Not Found"}', "m.onnx is a JSON text"),
        (b"Repository not found.", r"m.onnx is .*\(21 bytes\): fetch it again"),
        (bytes(100), r"m.onnx is not an ONNX model \(100 bytes\)"),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(OnnxFileError, match=message) as caught:
        read_signature(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OnnxFileError, match=r"m.onnx cannot be read: No such file"):
        read_signature(tmp_path / "m.onnx")


def test_weights_in_another_file_are_named(tmp_path: Path, narrow: Standins) -> None:
    model = onnx.load(str(narrow.recogniser))
    onnx.save_model(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.onnx.data")
    with pytest.raises(OnnxFileError, match=r"m.onnx keeps weights in another file, which is not supported: save it as one file"):
        read_signature(tmp_path / "m.onnx")


def test_a_file_cut_short_anywhere_is_noticed(tmp_path: Path, functional: Standins) -> None:
    whole = functional.recogniser.read_bytes()
    for length in [*range(1, len(whole), max(1, len(whole) // 300)), *range(len(whole) - 30, len(whole))]:
        (tmp_path / "m.onnx").write_bytes(whole[:length])
        with pytest.raises(OnnxFileError, match=r"m.onnx is (cut short or damaged|not an ONNX model)"):
            read_signature(tmp_path / "m.onnx")
