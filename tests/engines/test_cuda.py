"""engines/cuda.py: what the GPU is told, what is missing where there is none, and runs in bound buffers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
import pytest

from serve_app.engines.arcface import ArcFaceEngine
from serve_app.engines.cuda import CUDA, LIBRARIES, BoundSession, CudaSession, cuda_version, provider_options, require_cuda
from serve_app.engines.inswapper import InSwapperEngine
from serve_app.engines.onnxfile import reshaped
from serve_app.engines.scrfd import SCRFDEngine
from serve_app.engines.session import CPU
from tests.standins import Standins

EXACT = {
    "device_id": "0",
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "EXHAUSTIVE",
    "cudnn_conv_use_max_workspace": "1",
    "do_copy_in_default_stream": "1",
    "use_tf32": "0",
}


def test_options_of_the_provider() -> None:
    assert provider_options("exact") == EXACT
    assert provider_options("fast") == EXACT | {"use_tf32": "1"}
    assert provider_options("fast", device=1, memory_limit=4 << 30) == EXACT | {
        "use_tf32": "1",
        "device_id": "1",
        "gpu_mem_limit": "4294967296",
    }


class Driver:
    """Answers as libcuda does on a machine with that many GPUs."""

    def __init__(self, gpus: int, code: int = 0) -> None:
        self._gpus, self._code = gpus, code

    def cuInit(self, flags: int) -> int:
        return self._code

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self._gpus
        return 0


def machine(without: str = "", gpus: int = 1, code: int = 0) -> Any:
    """Loads every library but one."""

    def load(name: str) -> Any:
        if without and name.startswith(without):
            raise OSError(f"{name}: cannot open shared object file")
        return Driver(gpus, code)

    return load


def test_a_machine_that_has_everything_passes() -> None:
    require_cuda(machine())


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ("libcuda.so", "NVIDIA's driver"),
        ("libcudart", "CUDA 13 runtime"),
        ("libcublas.", "cuBLAS"),
        ("libcurand", "cuRAND"),
        ("libcufft", "libcufft.so.12"),
        ("libcudnn", "cuDNN 9"),
    ],
)
def test_the_part_that_is_missing_is_named(lacking: str, message: str) -> None:
    assert cuda_version() == 13
    with pytest.raises(RuntimeError, match=rf"^provider cuda: .*{message}"):
        require_cuda(machine(lacking))


@pytest.mark.parametrize(("gpus", "code"), [(0, 0), (0, 100)])
def test_a_driver_without_a_gpu_is_refused(gpus: int, code: int) -> None:
    with pytest.raises(RuntimeError, match=rf"finds no GPU that it can use \(CUDA error {code}\)"):
        require_cuda(machine(gpus=gpus, code=code))


def test_every_library_says_how_to_get_it() -> None:
    assert all("pip: nvidia-" in what for _, what in LIBRARIES)


@pytest.mark.parametrize(("engine", "role"), [(SCRFDEngine, "detector"), (ArcFaceEngine, "recogniser"), (InSwapperEngine, "swapper")])
def test_engines_asked_for_a_gpu_run_on_it_or_not_at_all(functional: Standins, engine: Any, role: str) -> None:
    """On a machine without one, what is missing is said; never does the CPU take over."""
    outcome = ""
    try:
        outcome = engine(getattr(functional, role), provider=CUDA, buckets=(1, 2)).info()["provider"]
    except RuntimeError as error:
        outcome = str(error)
    assert outcome == CUDA or outcome.startswith(f"{getattr(functional, role).name} cannot be run here: provider cuda: ")


def bound(path: Any) -> tuple[BoundSession, onnxruntime.InferenceSession]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(reshaped(path), options, providers=[CPU])
    return BoundSession(session, device="cpu"), session


def crops(seed: int, count: int) -> dict[str, Any]:
    return {"input.1": np.random.default_rng(seed).standard_normal((count, 3, 112, 112)).astype(np.float32)}


def test_bound_runs_give_what_plain_runs_give(narrow: Standins) -> None:
    session, plain = bound(narrow.recogniser)
    for seed, count in enumerate((1, 2, 1, 4, 2, 1)):
        inputs = crops(seed, count)
        inputs["input.1"].flags.writeable = False
        (output,) = session.run(inputs)
        assert np.array_equal(output, plain.run(None, inputs)[0])


def test_results_belong_to_the_caller(narrow: Standins) -> None:
    session, _ = bound(narrow.recogniser)
    (first,) = session.run(crops(0, 1))
    copy = first.copy()
    session.run(crops(1, 1))
    assert np.array_equal(first, copy)


def test_callers_at_a_time_do_not_see_each_others_buffers(narrow: Standins) -> None:
    session, plain = bound(narrow.recogniser)
    inputs = [crops(seed, 1 + seed % 2) for seed in range(12)]
    expected = [plain.run(None, each)[0] for each in inputs]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda each: session.run(each)[0], inputs * 3))
    assert all(np.array_equal(a, b) for a, b in zip(results, expected * 3, strict=True))


def test_a_run_that_fails_leaves_the_session_usable(narrow: Standins) -> None:
    session, plain = bound(narrow.recogniser)
    with pytest.raises(Exception, match=r"(?i)dimension"):
        session.run({"input.1": np.zeros((1, 3, 96, 112), np.float32)})
    assert np.array_equal(session.run(crops(3, 1))[0], plain.run(None, crops(3, 1))[0])


def test_a_gpu_session_is_refused_like_its_engines(narrow: Standins) -> None:
    try:
        provider = CudaSession(narrow.recogniser, precision="exact").info["provider"]
    except RuntimeError as error:
        provider = CUDA if str(error).startswith("provider cuda: ") else str(error)
    assert provider == CUDA
