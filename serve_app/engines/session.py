"""Model files behind one verb, whichever runtime runs them: `run(inputs) -> outputs`.

Threads and precision are always set here, never left to a runtime: ONNX Runtime and OpenVINO take every core they see,
whatever OMP_NUM_THREADS says, and OpenVINO takes bf16 by itself where the processor has it. `open_session` chooses.

Same input, same bytes: ONNX Runtime on a CPU and OpenVINO gave bit-equal outputs for any batch size, any place in a
batch, one or two threads and one or two runs at a time (CenterFace and Face Mesh, f32 and bf16). That is how it was on
one processor, not a promise of the libraries, so engines test their batches when they load (see batches.py).
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import onnxruntime
import openvino
from numpy.typing import NDArray

from serve_app.engines.centred import ENTRY, centred

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

CPU = "CPUExecutionProvider"


class Session(Protocol):
    """A loaded model.

    outputs: their names, in the order of run()'s result. info: runtime, precision, threads, for /health and the log.
    """

    outputs: tuple[str, ...]
    info: dict[str, str]

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """One batch. The caller may be any thread and owns the arrays it gets; inputs are only read."""


@runtime_checkable
class PerBatch(Protocol):
    """A session that takes only the batch sizes that it was told of."""

    def compile(self, bucket: int) -> None:
        """Let run() take batches of this size; not while another thread runs."""

    def forget(self, bucket: int) -> None:
        """Give back what `compile` took, if it did; not while another thread runs."""


class OnnxRuntimeSession:
    """ONNX Runtime in float32, the reference that other runtimes are compared with.

    model: the file, or its bytes. threads: of one run. provider: the execution provider that must run the model, with its
    options. Raises RuntimeError when that provider is not there or did not take the model (ONNX Runtime alone would quietly
    go on with the CPU), and when the model cannot be loaded.
    """

    def __init__(self, model: Path | bytes, *, threads: int, provider: str = CPU, options: Mapping[str, str] | None = None) -> None:
        if provider not in onnxruntime.get_available_providers():
            raise RuntimeError(f"{provider} is not in this ONNX Runtime, which has {', '.join(onnxruntime.get_available_providers())}")
        how = onnxruntime.SessionOptions()
        how.intra_op_num_threads = threads
        how.inter_op_num_threads = 1
        how.use_deterministic_compute = True
        how.log_severity_level = 3
        how.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(source, how, providers=[(provider, dict(options or {}))])
        except Exception as error:  # ONNX Runtime's have no common type
            raise RuntimeError(f"ONNX Runtime cannot load this model: {first_line(error)}") from error
        self._session.disable_fallback()
        if self._session.get_providers()[0] != provider:
            raise RuntimeError(
                f"{provider} cannot be used here, only {', '.join(self._session.get_providers())}: check driver and libraries"
            )
        self.outputs: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())
        self.info = {"runtime": f"onnxruntime {onnxruntime.__version__}", "provider": provider, "precision": "f32", "threads": str(threads)}

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        outputs: list[Array] = self._session.run(None, dict(inputs))
        return outputs


class FixedSession:
    """ONNX Runtime with a session of its own for each batch size, made by `make`.

    For a shape that it knows in advance ONNX Runtime picks other kernels, whose sums differ in the last bit; only those are
    the library's. Each batch size holds the model's weights once more.
    """

    def __init__(self, make: Callable[[int], OnnxRuntimeSession], buckets: Sequence[int] = (1,)) -> None:
        self._make = make
        self._sessions = {bucket: make(bucket) for bucket in buckets}
        first = self._sessions[buckets[0]]
        self.outputs, self.info = first.outputs, first.info

    def compile(self, bucket: int) -> None:
        self._sessions[bucket] = self._make(bucket)

    def forget(self, bucket: int) -> None:
        self._sessions.pop(bucket, None)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        return self._sessions[len(next(iter(inputs.values())))].run(inputs)


class OpenVinoSession:
    """OpenVINO on the CPU, compiled for fixed shapes, or (`any_size`) for pictures of any.

    shapes: of one item, without the batch, by input name. buckets: the batch sizes that run() takes. threads: of one
    run. slots: runs at a time; a run beyond waits for a free one. any_size: pictures (n, c, height, width) may have any height and width;
    each new one takes time at its first run, and memory. careful: in bf16, up to the first normalisation differences from a
    plain picture are computed (see centred.py), where the net is one for that. Every bucket holds the model's weights once more.
    """

    def __init__(
        self,
        path: Path,
        shapes: Shapes,
        *,
        precision: Literal["f32", "bf16"],
        threads: int,
        slots: int = 1,
        buckets: Sequence[int] = (1,),
        any_size: bool = False,
        careful: bool = False,
    ) -> None:
        self.any_size = any_size
        self._path, self._shapes, self._slots = path, dict(shapes), slots
        self._precision, self._careful = precision, careful and precision == "bf16"
        self._options = {
            "INFERENCE_NUM_THREADS": threads * slots,
            "NUM_STREAMS": slots,
            "ENABLE_CPU_PINNING": False,  # every replica would pin itself to the same cores
        }
        self._requests: dict[int, queue.SimpleQueue[list[Any]]] = {}
        self.outputs: tuple[str, ...] = ()
        self.info = {
            "runtime": f"openvino {openvino.__version__.split('-')[0]}",
            "provider": "CPU",
            "precision": precision,
            "threads": str(threads),
        }
        for bucket in buckets:
            self.compile(bucket)

    def compile(self, bucket: int) -> None:
        core = openvino.Core()
        model = core.read_model(self._path)
        model.reshape({name: [bucket, *((shape[0], -1, -1) if self.any_size else shape)] for name, shape in self._shapes.items()})
        parts = centred(model) if self._careful else None
        if parts:
            self.info["beginning"] = "as differences from a plain picture"
        precisions = ("f32", self._precision) if parts else (self._precision,)
        compiled = [
            core.compile_model(part, "CPU", {**self._options, "INFERENCE_PRECISION_HINT": precision})
            for part, precision in zip(parts or (model,), precisions, strict=True)
        ]
        self._requests[bucket] = queue.SimpleQueue()
        for _ in range(self._slots):
            self._requests[bucket].put([part.create_infer_request() for part in compiled])
        self.outputs = tuple(output.get_any_name() for output in compiled[-1].outputs)

    def forget(self, bucket: int) -> None:
        self._requests.pop(bucket, None)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        batch = len(next(iter(inputs.values())))
        if batch not in self._requests:
            raise ValueError(f"a batch of {batch} was not compiled, only {sorted(self._requests)}")
        requests = self._requests[batch]
        parts = requests.get()
        try:
            results: list[Array] = []
            for request in parts:
                given = {**inputs, **{ENTRY.format(number): value for number, value in enumerate(results)}}
                wanted = {name for port in request.model_inputs for name in port.get_names()}
                found = request.infer({name: value for name, value in given.items() if name in wanted}, share_inputs=True)
                results = [np.asarray(found[i]) for i in range(len(request.model_outputs))]
            return results
        finally:
            requests.put(parts)


def first_line(error: Exception) -> str:
    """What a runtime complains about, without the rest of its report."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
