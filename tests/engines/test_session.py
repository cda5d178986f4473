"""engines/session.py: what runs where it was asked to, on as many threads as it was given, for many callers at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from serve_app.engines import weights
from serve_app.engines.choice import probe_picture
from serve_app.engines.session import OnnxRuntimeSession, OpenVinoSession, Session
from tests.engines.nets import builtin

SHAPES = {"image": (256, 256, 3)}

ONNX_RUNTIME: Callable[..., Session] = lambda threads=1: OnnxRuntimeSession(builtin() / weights.FACEMESH, threads=threads)  # noqa: E731
OPENVINO: Callable[..., Session] = lambda threads=1, **options: OpenVinoSession(  # noqa: E731
    builtin() / weights.FACEMESH, SHAPES, precision="f32", threads=threads, **options
)
BOTH = pytest.mark.parametrize("make", [ONNX_RUNTIME, OPENVINO], ids=["onnxruntime", "openvino"])


def pictures(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return probe_picture({"image": (count, 256, 256, 3)})["image"]


def test_a_provider_that_is_not_installed_is_refused() -> None:
    with pytest.raises(RuntimeError, match="NpuExecutionProvider is not in this ONNX Runtime"):
        OnnxRuntimeSession(builtin() / weights.FACEMESH, threads=1, provider="NpuExecutionProvider")


def test_a_gpu_that_was_asked_for_is_used_or_refused_never_replaced() -> None:
    message = ""
    try:
        provider = OnnxRuntimeSession(builtin() / weights.FACEMESH, threads=1, provider="CUDAExecutionProvider").info["provider"]
    except RuntimeError as error:
        provider, message = "none", str(error)
    assert provider == "CUDAExecutionProvider" or "CUDAExecutionProvider cannot be used here" in message


def test_what_cannot_be_loaded_is_told_in_a_line() -> None:
    with pytest.raises(RuntimeError, match=r"^ONNX Runtime cannot load this model: [^\n]+$"):
        OnnxRuntimeSession(b"\x08\x07 no model", threads=1)


@BOTH
def test_one_thread_is_one_core(make: Callable[..., Session]) -> None:
    session, batch = make(), {"image": pictures(1)}
    session.run(batch)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(20):
        session.run(batch)
    assert time.process_time() - cpu < 1.25 * (time.perf_counter() - wall)


@BOTH
def test_results_belong_to_the_caller(make: Callable[..., Session]) -> None:
    session = make()
    first = session.run({"image": pictures(2)[:1]})
    copies = [output.copy() for output in first]
    second = session.run({"image": pictures(2)[1:]})
    assert all(np.array_equal(a, b) for a, b in zip(first, copies, strict=True))
    assert not np.array_equal(first[0], second[0])
    first[0][:] = 0


@BOTH
def test_pictures_may_be_read_only(make: Callable[..., Session]) -> None:
    picture = pictures(1)
    expected = make().run({"image": picture})
    picture.flags.writeable = False
    assert all(np.array_equal(a, b) for a, b in zip(make().run({"image": picture}), expected, strict=True))


@pytest.mark.parametrize(
    "make", [partial(ONNX_RUNTIME, 2), partial(OPENVINO, 1, slots=2), partial(OPENVINO, 2)], ids=["onnxruntime", "slots", "threads"]
)
def test_more_callers_than_slots_get_their_own_results(make: Callable[..., Session]) -> None:
    session, batch = make(), pictures(6)
    alone = [session.run({"image": batch[i : i + 1]}) for i in range(6)]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda i: session.run({"image": batch[i : i + 1]}), [*range(6)] * 4))
    for outputs, expected in zip(together, alone * 4, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(outputs, expected, strict=True))


def test_only_compiled_batches_run() -> None:
    session = OPENVINO(buckets=(1, 3))
    assert session.run({"image": pictures(3)})[0].shape == (3, 1434)
    with pytest.raises(ValueError, match=r"a batch of 2 was not compiled, only \[1, 3\]"):
        session.run({"image": pictures(2)})


@BOTH
def test_a_session_says_what_it_is(make: Callable[..., Session]) -> None:
    session = make(threads=2)
    assert session.outputs == ("points", "presence")
    assert session.info["precision"] == "f32"
    assert session.info["threads"] == "2"
    assert session.info["runtime"].split()[1][0].isdigit()
