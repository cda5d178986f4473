"""ONNX Runtime on an NVIDIA GPU: what it is told, what it needs, and runs whose inputs and outputs stay in their places.

ONNX Runtime without CUDA goes on with the CPU in silence; here the service does not start, and says what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from onnxruntime.capi import build_and_package_info

from serve_app.engines.session import Array, OnnxRuntimeSession

CUDA = "CUDAExecutionProvider"

# What libonnxruntime_providers_cuda.so loads, and what a person would install to get it. {n}: the CUDA it was built for.
DRIVER = ("libcuda.so.1", "NVIDIA's driver")
LIBRARIES = (
    ("libcudart.so.{n}", "the CUDA {n} runtime (pip: nvidia-cuda-runtime)"),
    ("libcublasLt.so.{n}", "cuBLAS for CUDA {n} (pip: nvidia-cublas)"),
    ("libcublas.so.{n}", "cuBLAS for CUDA {n} (pip: nvidia-cublas)"),
    ("libcurand.so.10", "cuRAND (pip: nvidia-curand)"),
    ("libcufft.so.{fft}", "cuFFT (pip: nvidia-cufft)"),
    ("libcudnn.so.9", "cuDNN 9 (pip: nvidia-cudnn-cu{n})"),
)
_FFT = {12: 11, 13: 12}


def provider_options(precision: Literal["exact", "fast"], *, device: int = 0, memory_limit: int | None = None) -> dict[str, str]:
    """Of the CUDA execution provider.

    Engines run a few fixed batch sizes, all warmed up before the first request, so the exhaustive search for the fastest
    convolution is paid once. The arena grows by what is asked for, not by doubling. `exact` forbids TF32, which keeps ten
    bits of each factor. memory_limit: bytes of the arena; cuDNN's and CUDA's own memory come on top.
    """
    options = {
        "device_id": str(device),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        "use_tf32": "0" if precision == "exact" else "1",
    }
    if memory_limit is not None:
        options["gpu_mem_limit"] = str(memory_limit)
    return options


def require_cuda(load: Callable[[str], Any] = ctypes.CDLL) -> None:
    """Raises RuntimeError naming the first missing part: the right ONNX Runtime, the driver, a library, a GPU.

    load: how a library is loaded; raises OSError when it is not there.
    """
    if CUDA not in onnxruntime.get_available_providers():
        raise _missing("this ONNX Runtime was built without it: install requirements/gpu instead of onnxruntime")
    try:
        driver = load(DRIVER[0])
    except OSError:
        raise _missing(f"{DRIVER[1]} ({DRIVER[0]}) is not on this machine") from None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find, and we say it better below
        onnxruntime.preload_dlls()
    version = cuda_version()
    for pattern, name in LIBRARIES:
        library, what = (text.format(n=version, fft=_FFT.get(version, version)) for text in (pattern, name))
        try:
            load(library)
        except OSError:
            raise _missing(f"{what} is not installed or not found ({library}); requirements/gpu has it") from None
    count = ctypes.c_int(0)
    if (code := driver.cuInit(0)) or (code := driver.cuDeviceGetCount(ctypes.byref(count))) or not count.value:
        raise _missing(f"NVIDIA's driver finds no GPU that it can use (CUDA error {code})")


def cuda_version() -> int:
    """The CUDA that this ONNX Runtime was built for."""
    return int(str(getattr(build_and_package_info, "cuda_version", "13")).split(".")[0] or 13)


def _missing(what: str) -> RuntimeError:
    return RuntimeError(f"provider cuda: {what}")


class BoundSession:
    """A session whose input buffers lie on its device and are filled anew for each run, one set per batch size and caller.

    device: as OrtValue names it, "cuda" or "cpu". Any number of threads may call `run`; each uses buffers of its own.
    """

    def __init__(self, session: onnxruntime.InferenceSession, *, device: str, index: int = 0) -> None:
        self._session = session
        self._device, self._index = device, index
        self._outputs = tuple(output.name for output in session.get_outputs())
        self._idle: dict[tuple[object, ...], list[_Buffers]] = {}
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        key = tuple((name, array.shape, array.dtype.str) for name, array in sorted(inputs.items()))
        with self._lock:
            idle = self._idle.setdefault(key, [])
            buffers = idle.pop() if idle else None
        if buffers is None:
            buffers = _Buffers(self._session, inputs, self._outputs, self._device, self._index)
        results = buffers.run(inputs)
        with self._lock:  # buffers of a run that failed are not used again
            idle.append(buffers)
        return results


class _Buffers:
    def __init__(
        self, session: onnxruntime.InferenceSession, inputs: Mapping[str, Array], outputs: tuple[str, ...], device: str, index: int
    ) -> None:
        self._session, self._outputs = session, outputs
        self._binding = session.io_binding()
        self._values = {
            name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type, device, index)
            for name, array in inputs.items()
        }
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in outputs:
            self._binding.bind_output(name, device, index)
        self._fresh = True

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        for name, value in self._values.items():
            value.update_inplace(np.ascontiguousarray(inputs[name]))
        self._session.run_with_iobinding(self._binding)
        if self._fresh:  # the first run has told the outputs' shapes: from now on they are written where they are
            for name, value in zip(self._outputs, self._binding.get_outputs(), strict=True):
                self._binding.bind_ortvalue_output(name, value)
            self._fresh = False
        results: list[Array] = [np.array(value.numpy()) for value in self._binding.get_outputs()]
        return results


class CudaSession(OnnxRuntimeSession):
    """The Session of a GPU. `exact` is float32; `fast` lets the tensor cores round factors to TF32.

    Raises RuntimeError, naming the missing part, when the GPU cannot be used.
    """

    def __init__(
        self, model: Path | bytes, *, precision: Literal["exact", "fast"], slots: int = 1, device: int = 0, memory_limit: int | None = None
    ) -> None:
        require_cuda()
        super().__init__(model, threads=1, provider=CUDA, options=provider_options(precision, device=device, memory_limit=memory_limit))
        self._bound = BoundSession(self._session, device="cuda", index=device)
        self.info |= {"precision": "f32" if precision == "exact" else "tf32", "slots": str(slots)}

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        return self._bound.run(inputs)
