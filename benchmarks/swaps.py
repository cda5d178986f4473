"""What a face costs the swapper: `exact` one at a time beside `fast` in batches, the same file, one thread, in one run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.timing import timed
from serve_app.engines.inswapper import InSwapperEngine
from serve_app.vision.face import Portrait, SwapItem
from tests.pictures import SIX_FACES, SIX_PEOPLE, read
from tests.standins import MAKERS, Kind

BUCKETS = (1, 2, 4)  # OpenVINO holds the weights once more for each
ROUNDS = 5  # at most: at the real size one takes ten seconds
RATIO = 4.0  # where the processor multiplies bf16 in tiles


def has_amx(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    return cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text().split()


def run(folder: Path, kind: Kind, rounds: int, *, amx: bool | None = None) -> dict[str, Any]:
    """Medians in milliseconds a face. amx: whether that is asked for which must hold with it; as the processor is when not given."""
    path = folder / "inswapper_128.onnx"
    onnx.save(MAKERS[kind][2](), str(path))
    exact = InSwapperEngine(path, precision="exact", threads=1)
    fast = InSwapperEngine(path, precision="fast", threads=1, buckets=BUCKETS, measure=False)
    sides = {"exact": per_face(exact, 1)} | {f"fast {count}": per_face(fast, count) for count in fast.buckets}
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(min(rounds, ROUNDS)):  # they take turns, so that a busy moment hits all alike
        for side, seconds in sides.items():
            taken[side].append(seconds() * 1e3)
    ms = {side: statistics.median(each) for side, each in taken.items()}
    batched = [value for side, value in ms.items() if side not in ("exact", "fast 1")]
    ratio = ms["exact"] / min(batched or [ms["fast 1"]])
    amx = has_amx() if amx is None else amx
    missed = [f"{path.stem} in batches is {ratio:.1f} times as fast a face, not {RATIO:.0f}"] if amx and not ratio >= RATIO else []
    chosen = f"{fast.info()['runtime']} {fast.info()['precision']}"
    return {"standin": kind, "amx": amx, "fast": chosen, "ms": ms, "ratio": ratio, "missed": missed}


def per_face(engine: InSwapperEngine, count: int) -> Callable[[], float]:
    batch = [engine.pre(item) for item in crops(count)]
    engine.run(batch)  # warm
    run_batch = timed(partial(engine.run, batch))
    return lambda: run_batch() / count


def crops(count: int) -> list[SwapItem]:
    """Faces of a photograph, each to be given to another person."""
    picture, random = read(SIX_PEOPLE), np.random.default_rng(0)
    corners = [(x1, y1) for x1, y1, _, _ in SIX_FACES]
    pixels = [np.ascontiguousarray(picture[y : y + 128, x : x + 128]) for x, y in corners]
    return [
        SwapItem(Portrait(random.standard_normal(512).astype(np.float32), None), Portrait(None, pixels[i % len(pixels)]))
        for i in range(count)
    ]


def lines(result: dict[str, Any]) -> list[str]:
    """Markdown of what `run` gave."""
    line = f"at least {RATIO:.0f} times faster a face in batches where the processor has AMX"
    has = "It has: missed." if result["missed"] else "It has: holds."
    asked = has if result["amx"] else "**Not measured**: it has none (no flag amx_bf16)."
    return [
        f"inswapper_128, stand-in {result['standin']}, one thread. fast: {result['fast']}. Asked for: {line}. {asked}",
        "",
        "| ms a face | " + " | ".join("exact, alone" if side == "exact" else f"{side} a batch" for side in result["ms"]) + " | ratio |",
        "|---|" + "---|" * (len(result["ms"]) + 1),
        "| swap | " + " | ".join(f"{value:.0f}" for value in result["ms"].values()) + f" | **{result['ratio']:.2f}** |",
    ]
