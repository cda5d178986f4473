"""engines/choice.py: the fastest runtime that gives the right answer, and the same one at each start."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from serve_app.engines import weights
from serve_app.engines.choice import MARGIN, TOLERANCE, difference, fastest, has_bf16, open_session, probe_picture
from serve_app.engines.session import Array, OnnxRuntimeSession, Session
from tests.engines.nets import builtin

SHAPES = {"image": (256, 256, 3)}


class Slow:
    """A session that takes its time."""

    def __init__(self, name: str, seconds: float) -> None:
        self.outputs: tuple[str, ...] = ()
        self.info = {"runtime": name, "precision": "f32"}
        self._seconds = seconds

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        time.sleep(self._seconds)
        return []


def test_exact_is_onnx_runtime_in_full_precision() -> None:
    session = open_session(builtin() / weights.FACEMESH, SHAPES, precision="exact", threads=1)
    assert session.info["runtime"].startswith("onnxruntime")
    assert session.info["precision"] == "f32"


@pytest.mark.parametrize("allow_bf16", [True, False])
def test_fast_is_measured_and_within_tolerance_of_exact(allow_bf16: bool) -> None:
    path, shapes = builtin() / weights.CENTERFACE, {"image": (320, 320, 3)}
    fast = open_session(path, shapes, precision="fast", threads=1, allow_bf16=allow_bf16)
    probe = probe_picture({"image": (1, 320, 320, 3)})
    error = difference(fast.run(probe), OnnxRuntimeSession(path, threads=1).run(probe))
    assert error <= TOLERANCE["bf16" if fast.info["precision"] == "bf16" else "f32"]
    assert ("bf16" in fast.info["measured"]) == (allow_bf16 and has_bf16(Path("/proc/cpuinfo")))
    assert "onnxruntime" in fast.info["measured"]
    assert " f32 " in fast.info["measured"]


def test_a_clearly_faster_one_is_chosen() -> None:
    sessions: list[Session] = [Slow("preferred", 0.03), Slow("other", 0.01)]
    chosen, report = fastest(sessions, {})
    assert chosen is sessions[1]
    assert re.fullmatch(r"preferred f32 \d+\.\d ms, other f32 \d+\.\d ms", report)


def test_a_photo_finish_goes_to_the_preferred_one() -> None:
    assert MARGIN > 1.1
    sessions: list[Session] = [Slow("preferred", 0.041), Slow("other", 0.04)]
    assert fastest(sessions, {})[0] is sessions[0]


def test_difference_sees_the_worst_output() -> None:
    a = np.linspace(1, 2, 100, dtype=np.float32)
    assert difference([a, a], [a, a]) == 0
    assert difference([a, a * np.float32(1.1)], [a, a]) == pytest.approx(0.1, rel=1e-4)
    assert difference([a, -a], [a, a]) == pytest.approx(2)


@pytest.mark.parametrize("output", [np.full(3, np.nan), np.array([1, np.inf, 1]), np.ones(4)])
def test_difference_is_infinite_for_what_cannot_be_compared(output: Array) -> None:
    assert difference([output], [np.ones(3)]) == float("inf")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16 vaes", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fpu avx512f avx512_vnni", False),
        ("fpu xavx512_bf16x", False),
    ],
)
def test_bf16_is_read_from_the_processors_flags(tmp_path: Path, flags: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: amx_bf16\nflags\t\t: {flags}\nbugs\t\t: none\n")
    assert has_bf16(tmp_path / "cpuinfo") is expected
    assert not has_bf16(tmp_path / "nothing")


def test_probe_pictures_are_lively_and_always_the_same() -> None:
    picture = probe_picture({"image": (2, 70, 100, 3)})["image"]
    assert picture.shape == (2, 70, 100, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 50
    assert np.array_equal(picture, probe_picture({"image": (2, 70, 100, 3)})["image"])
