"""Which runtime and precision run a model on this machine.

`exact` is ONNX Runtime in float32. `fast` is measured against it: OpenVINO in bf16 where the processor has it in hardware
and the caller allows it, else OpenVINO in f32. What does not agree with ONNX Runtime on a test picture is left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from serve_app.engines.cuda import CUDA, CudaSession, require_cuda
from serve_app.engines.session import CPU, Array, FixedSession, OnnxRuntimeSession, OpenVinoSession, Session, Shapes, first_line

logger = logging.getLogger(__name__)

Precision: TypeAlias = Literal["exact", "fast"]

# Largest root mean square difference to ONNX Runtime, relative to the output's own. Measured: f32 1e-5; bf16 0.01 to
# 0.2 (CenterFace's cell offsets, which are small numbers); a wrong kernel or layout is near 1.
TOLERANCE: dict[Literal["f32", "bf16"], float] = {"bf16": 0.3, "f32": 1e-3}

# Candidates come in order of preference, and a later one must be this much faster: a photo finish decided anew at each
# start would let two replicas of one machine answer with different bytes.
MARGIN = 1.25
ROUNDS = 10
PATIENCE = 3.0  # seconds, after which two rounds are enough


@dataclass(frozen=True, slots=True)
class Judge:
    """Whether a candidate computes what ONNX Runtime does: error(outputs, expected) must not exceed `most` of its precision."""

    error: Callable[[Sequence[Array], Sequence[Array]], float]
    most: Mapping[Literal["f32", "bf16"], float]


def open_session(
    path: Path,
    shapes: Shapes,
    *,
    precision: Precision,
    threads: int,
    slots: int = 1,
    buckets: Sequence[int] = (1,),
    allow_bf16: bool = False,
    provider: str = CPU,
    model: Callable[[int | None], Path | bytes] | None = None,
    fixed: bool = False,
    any_size: bool = False,
    careful: bool = False,
    probes: Sequence[Mapping[str, Array]] = (),
    judge: Judge | None = None,
) -> Session:
    """The model in `path`, ready to run.

    shapes: of one item, without the batch, by input name. threads: of one run. slots: runs at a time. buckets: batch
    sizes. allow_bf16: whether the results may lose precision. provider: of ONNX Runtime; on anything but the CPU there is
    nothing to choose. model: what ONNX Runtime loads instead of the file, for batches of that size or (None) of any.
    fixed: whether it has a session of its own for each batch size, see FixedSession.
    any_size: OpenVINO takes pictures of any height and width, see OpenVinoSession; ONNX Runtime does not.
    careful: in bf16 the net may begin with differences from a plain picture, see OpenVinoSession.
    probes: batches of buckets[0], all to test and the first to measure with; a picture (uint8) when none is given. judge: of
    bf16 and of OpenVINO, by the worst of the probes.
    Raises RuntimeError when the provider cannot be used or the model cannot be loaded.
    """
    model = model or (lambda batch: path)
    if provider == CUDA:
        return CudaSession(model(None), precision=precision, slots=slots)
    make = partial(OnnxRuntimeSession, threads=threads, provider=provider)
    exact: Session = FixedSession(lambda bucket: make(model(bucket)), buckets) if fixed else make(model(None))
    if precision == "exact" or provider != CPU:
        return exact
    judge = judge or Judge(difference, TOLERANCE)
    probes = probes or [probe_picture({name: (buckets[0], *shape) for name, shape in shapes.items()})]
    expected = [exact.run(probe) for probe in probes]
    candidates: list[Session] = []
    for kind in _openvino_precisions(allow_bf16=allow_bf16):
        opened = partial(OpenVinoSession, path, shapes, precision=kind, threads=threads, slots=slots, buckets=buckets[:1], careful=careful)
        try:
            session, outputs = _tried(opened, probes, any_size=any_size)
            errors = [judge.error(found, right) for found, right in zip(outputs, expected, strict=True)]
        except Exception as failure:  # what OpenVINO cannot run, ONNX Runtime can
            logger.warning("%s: OpenVINO %s cannot run it and is not used (%s)", path.name, kind, first_line(failure))
            continue
        error = max(errors, key=lambda error: (np.isnan(error), error))
        if error <= judge.most[kind]:
            session.info["self-test"] = f"{error:.2g} (at most {judge.most[kind]:.2g})"
            candidates.append(session)
            break
        logger.warning(
            "%s: OpenVINO %s differs from ONNX Runtime by %.2g, more than %.2g, and is not used", path.name, kind, error, judge.most[kind]
        )
    candidates.append(exact)
    chosen, report = fastest(candidates, probes[0])
    chosen.info["measured"] = report
    logger.info("%s runs on %s %s (%s)", path.name, chosen.info["runtime"], chosen.info["precision"], report)
    if isinstance(chosen, OpenVinoSession):
        candidates.clear()
        del exact  # gives its memory back before more is taken
        for bucket in buckets[1:]:
            chosen.compile(bucket)
    return chosen


def _tried(
    opened: Callable[..., OpenVinoSession], probes: Sequence[Mapping[str, Array]], *, any_size: bool
) -> tuple[OpenVinoSession, list[list[Array]]]:
    """A session and what it makes of the probes; for their size alone where it does not run for any."""
    try:
        session = opened(any_size=any_size)
        return session, [session.run(probe) for probe in probes]
    except Exception:  # as above
        if not any_size:
            raise
        return _tried(opened, probes, any_size=False)


def fastest(candidates: Sequence[Session], probe: Mapping[str, Array]) -> tuple[Session, str]:
    """The first of `candidates` that none of the others beats by MARGIN, and what was measured, for people.

    The best of several rounds counts, and the rounds take turns, so that a busy moment hits all alike.
    """
    best, started = [float("inf")] * len(candidates), time.perf_counter()
    for finished in range(ROUNDS):
        if finished >= 2 and time.perf_counter() - started > PATIENCE:
            break
        for i, session in enumerate(candidates):
            start = time.perf_counter()
            session.run(probe)
            best[i] = min(best[i], time.perf_counter() - start)
    chosen = next(i for i, seconds in enumerate(best) if seconds <= min(best) * MARGIN)
    report = ", ".join(
        f"{s.info['runtime']} {s.info['precision']} {seconds * 1e3:.1f} ms" for s, seconds in zip(candidates, best, strict=True)
    )
    return candidates[chosen], report


def difference(outputs: Sequence[Array], expected: Sequence[Array]) -> float:
    """The worst output's root mean square difference, relative to what was expected; infinite for anything not finite."""
    worst = 0.0
    for a, b in zip(outputs, expected, strict=True):
        if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        wide = b.astype(np.float64)  # half precision would overflow
        worst = max(worst, float(np.linalg.norm(a - wide)) / max(float(np.linalg.norm(wide)), 1e-6))
    return worst


def probe_picture(shapes: Shapes) -> dict[str, Array]:
    """Pictures (n, h, w, 3) uint8 with soft blobs of random colour, the same each time: flat noise excites a net little."""
    rng = np.random.default_rng(0)
    pictures: dict[str, Array] = {}
    for name, (n, height, width, channels) in shapes.items():
        coarse = rng.integers(0, 256, (n, -(-height // 32), -(-width // 32), channels), dtype=np.uint8)
        pictures[name] = coarse.repeat(32, 1).repeat(32, 2)[:, :height, :width]
    return pictures


def runtimes_here() -> str:
    """For people: what may run a model of the insightface family on this machine. Nothing is loaded but CUDA's libraries."""
    openvino = " or ".join(_openvino_precisions(allow_bf16=True))
    try:
        require_cuda()
        cuda = "ONNX Runtime CUDA"
    except RuntimeError as error:
        cuda = f"not here, {str(error).removeprefix('provider cuda: ')}"
    return f"cpu: OpenVINO {openvino}, or ONNX Runtime f32, measured at start (precision exact: ONNX Runtime f32); cuda: {cuda}"


def _openvino_precisions(*, allow_bf16: bool) -> list[Literal["bf16", "f32"]]:
    return ["bf16", "f32"] if allow_bf16 and has_bf16(Path("/proc/cpuinfo")) else ["f32"]


def has_bf16(cpuinfo: Path) -> bool:
    """Whether the processor multiplies bf16 in hardware. OpenVINO's own list also names processors that emulate it."""
    if not cpuinfo.is_file():
        return False
    flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(flags.split())
