"""No bf16 without a self-test that passes: a runtime that computes something else is refused, and the log says why."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from serve_app.engines import choice
from serve_app.engines.arcface import ArcFaceEngine
from serve_app.engines.choice import has_bf16
from serve_app.engines.inswapper import InSwapperEngine
from serve_app.engines.scrfd import SCRFDEngine
from serve_app.engines.session import Array, OpenVinoSession
from tests.standins import Standins
from tests.standins.graph import Graph


class Spoilt(OpenVinoSession):
    """What says that it is bf16 and is off by a share of its output's own size; f32 is right."""

    share = 0.0

    def __init__(self, path: Path, shapes: Any, *, precision: Any, **options: Any) -> None:
        super().__init__(path, shapes, precision="f32", **options)
        self.info["precision"] = precision

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        outputs = super().run(inputs)
        return [self._off(output) for output in outputs] if self.info["precision"] == "bf16" else outputs

    def _off(self, output: Array) -> Array:
        wrong = np.random.default_rng(0).standard_normal(output.shape)
        return np.asarray(output + self.share * wrong * np.sqrt(np.mean(output.astype(np.float64) ** 2)), output.dtype)


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Any processor counts as one with bf16, which is then wrong by `Spoilt.share`. Gives the log."""
    monkeypatch.setattr(choice, "has_bf16", lambda cpuinfo: True)
    monkeypatch.setattr(choice, "OpenVinoSession", Spoilt)
    caplog.set_level(logging.INFO)
    return caplog


# A little more than is allowed, and a little less: a detector may be off by a tenth, an embedding by a thousandth of its cosine
# (a share of 0.045), a crop by 40 dB (0.01 of white, where the stand-in's crops are about 0.6 in the mean).
ENGINES = [
    pytest.param(SCRFDEngine, "detector", 0.12, 0.08, id="detector"),
    pytest.param(ArcFaceEngine, "recogniser", 0.05, 0.04, id="recogniser"),
    pytest.param(InSwapperEngine, "swapper", 0.025, 0.012, id="swapper"),
]


@pytest.mark.parametrize(("engine", "role", "much", "little"), ENGINES)
def test_bf16_that_is_wrong_is_refused_in_favour_of_float32(
    narrow: Standins, bf16: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, engine: Any, role: str, much: float, little: float
) -> None:
    path = getattr(narrow, role)
    monkeypatch.setattr(Spoilt, "share", much)
    info = engine(path, threads=1).info()
    assert info["precision"] == "f32"
    assert "bf16" not in info["measured"]
    (refusal,) = [record for record in bf16.records if record.levelno == logging.WARNING]
    assert f"{path.name}: OpenVINO bf16 differs from ONNX Runtime by " in refusal.message
    assert refusal.message.endswith("and is not used")


@pytest.mark.parametrize(("engine", "role", "much", "little"), ENGINES)
def test_bf16_that_is_within_bounds_is_a_candidate(
    narrow: Standins, bf16: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, engine: Any, role: str, much: float, little: float
) -> None:
    monkeypatch.setattr(Spoilt, "share", little)
    assert "bf16" in engine(getattr(narrow, role), threads=1).info()["measured"]
    assert "is not used" not in bf16.text


class Unable(OpenVinoSession):
    def __init__(self, path: Path, shapes: Any, *, precision: Any, **options: Any) -> None:
        raise RuntimeError(f"no kernel for {precision}\nand much more")


def test_what_does_not_run_at_all_is_left_out(narrow: Standins, bf16: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "OpenVinoSession", Unable)
    assert ArcFaceEngine(narrow.recogniser, threads=1).info()["runtime"].startswith("onnxruntime")
    for precision in ("bf16", "f32"):
        assert f"w600k_r50.onnx: OpenVINO {precision} cannot run it and is not used (no kernel for {precision})" in bf16.text


class OneSize(OpenVinoSession):
    def __init__(self, path: Path, shapes: Any, *, any_size: bool, **options: Any) -> None:
        if any_size:
            raise RuntimeError("no kernel for sides that are left open")
        super().__init__(path, shapes, **options)


@pytest.mark.usefixtures("openvino")
def test_a_detector_that_runs_in_one_size_only_is_not_left_to_onnx_runtime(narrow: Standins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "OpenVinoSession", OneSize)
    info = SCRFDEngine(narrow.detector, threads=1).info()
    assert info["runtime"].startswith("openvino")
    assert info["with less black"] == "none"


def cancelling(path: Path) -> Path:
    """A recogniser that float32 computes well and bf16, which keeps eight bits, does not: the answer is a small rest of large sums."""
    graph = Graph()
    mean = graph.node("ReduceMean", "input.1", axes=[2, 3], keepdims=0)
    large = np.full((3, 512), 1000.0)
    small = graph.random.standard_normal((3, 512))
    sums = (graph.node("MatMul", mean, graph.weight(weight)) for weight in (large + small, large))
    graph.node("Sub", *sums, to="683")
    onnx.save(graph.model("recogniser", {"input.1": ["None", 3, 112, 112]}, {"683": [1, 512]}), str(path))
    return path


def test_a_net_that_bf16_cannot_compute_runs_in_float32(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is pretended here: a processor that has bf16 gets it really wrong."""
    engine = ArcFaceEngine(cancelling(tmp_path / "r.onnx"), threads=1)
    assert engine.info()["precision"] == "f32"
    assert ("r.onnx: OpenVINO bf16 differs" in caplog.text) == has_bf16(Path("/proc/cpuinfo"))
