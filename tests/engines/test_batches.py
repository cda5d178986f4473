"""engines/batches.py: which batch sizes are right and worth having."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from serve_app.engines.batches import GAIN, run_items, settle, usable_buckets, worthwhile
from serve_app.engines.choice import open_session
from serve_app.engines.cuda import CUDA
from serve_app.engines.onnxfile import reshaped
from serve_app.engines.session import CPU, Array, FixedSession, OnnxRuntimeSession, OpenVinoSession
from tests.standins import Standins

SHAPES = {"input.1": (3, 112, 112)}


def probes(count: int = 2) -> list[dict[str, Array]]:
    return [{"input.1": np.random.default_rng(i).standard_normal((3, 112, 112)).astype(np.float32)} for i in range(count)]


class Recorded:
    """A session that answers with its input's mean, and remembers the batches it saw."""

    def __init__(self) -> None:
        self.outputs: tuple[str, ...] = ("mean",)
        self.info = {"precision": "f32"}
        self.seen: list[int] = []

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        self.seen.append(len(inputs["input.1"]))
        return [inputs["input.1"].mean((1, 2, 3))]


def test_items_run_in_full_batches_and_a_rest_is_padded() -> None:
    session, items = Recorded(), probes(7)
    results = run_items(session, items, (1, 2, 4))
    assert session.seen == [4, 4]
    assert [float(mean) for (mean,) in results] == pytest.approx([float(item["input.1"].mean()) for item in items])
    assert run_items(session, [], (1, 2, 4)) == []
    run_items(session, items[:5], (1, 2, 4))
    assert session.seen == [4, 4, 4, 1]


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        ({1: 1.0}, (1,)),
        ({1: 1.0, 2: 2.0, 4: 4.0}, (1,)),  # no gain
        ({1: 1.0, 2: 1.2, 4: 1.8}, (1, 2, 4)),
        ({1: 1.0, 2: 1.2, 4: 2.38}, (1, 2)),  # 4 gains too little over 2
        ({1: 1.0, 2: 1.97, 4: 3.94}, (1,)),  # within the noise
        ({1: 1.0, 2: 1.9, 4: 3.8}, (1, 2)),
        ({1: 1.0, 2: 2.0, 4: 2.4}, (1, 4)),
        ({1: 0.5, 2: 0.36, 4: 0.56}, (2, 4)),  # one alone is cheaper padded
    ],
)
def test_a_larger_batch_must_pay(seconds: dict[int, float], kept: tuple[int, ...]) -> None:
    assert 1.01 < GAIN < 1.04
    assert worthwhile(seconds) == kept


def test_what_was_measured_is_told_and_dropped_sizes_give_their_memory_back(narrow: Standins) -> None:
    session = OpenVinoSession(narrow.recogniser, SHAPES, precision="f32", threads=1)
    kept = settle(session, probes(), (1, 2, 4))
    assert session.info["buckets"] == ", ".join(map(str, kept))
    assert session.info["buckets measured"].count("ms an item") == 3
    for bucket in (1, 2, 4):
        batch = {"input.1": np.stack([probes(1)[0]["input.1"]] * bucket)}
        if bucket in kept:
            assert len(session.run(batch)[0]) == bucket
        else:
            with pytest.raises(ValueError, match="was not compiled"):
                session.run(batch)


@pytest.mark.parametrize("openvino", [False, True])
def test_a_net_that_takes_batches_keeps_them(narrow: Standins, openvino: bool) -> None:
    session = (
        OpenVinoSession(narrow.recogniser, SHAPES, precision="f32", threads=1)
        if openvino
        else OnnxRuntimeSession(reshaped(narrow.recogniser), threads=1)
    )
    assert usable_buckets(session, probes(), (1, 3)) == (1, 3)


class Drifting(Recorded):
    """A session whose sums differ in the last bits when it has company."""

    def __init__(self, provider: str) -> None:
        super().__init__()
        self.info["provider"] = provider

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        (means,) = super().run(inputs)
        return [means * np.float32(1 + 1e-6 * (len(means) > 1))]


@pytest.mark.parametrize(("provider", "kept"), [(CPU, (1,)), (CUDA, (1, 2))])
def test_onnx_runtime_on_a_cpu_batches_only_what_keeps_its_very_bits(provider: str, kept: tuple[int, ...]) -> None:
    assert usable_buckets(Drifting(provider), probes(), (1, 2)) == kept


def test_a_size_that_cannot_be_compiled_is_dropped(narrow: Standins, caplog: pytest.LogCaptureFixture) -> None:
    def make(bucket: int) -> OnnxRuntimeSession:
        if bucket > 2:
            raise RuntimeError("no memory left\nfor that")
        return OnnxRuntimeSession(reshaped(narrow.recogniser, batch=bucket), threads=1)

    assert settle(FixedSession(make), probes(), (1, 2, 4, 8), measure=False) == (1,)
    assert "a batch of 4 does not run (no memory left): one at a time instead" in caplog.text


def test_what_passes_says_by_how_much(narrow: Standins) -> None:
    probe = {"input.1": probes()[0]["input.1"][None]}
    session = open_session(narrow.recogniser, SHAPES, precision="fast", threads=1, allow_bf16=True, probes=[probe], buckets=(1, 2))
    if isinstance(session, OpenVinoSession):
        assert "at most" in session.info["self-test"]
        assert len(session.run({"input.1": np.concatenate([probe["input.1"]] * 2)})[0]) == 2
    else:
        assert "openvino" in session.info["measured"]


def test_models_come_from_bytes_as_from_files(narrow: Standins, tmp_path: Path) -> None:
    batch = {"input.1": probes()[0]["input.1"][None]}
    (a,) = OnnxRuntimeSession(narrow.recogniser, threads=1).run(batch)
    (b,) = OnnxRuntimeSession(reshaped(narrow.recogniser), threads=1).run(batch)
    assert np.array_equal(a, b)
