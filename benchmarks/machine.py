"""The machine line that goes with every absolute figure."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, object]:
    cpu = Path("/proc/cpuinfo").read_text()
    return {
        "cpu": next((line.split(":", 1)[1].strip() for line in cpu.splitlines() if line.startswith("model name")), platform.processor()),
        "cores": os.cpu_count(),
        "bf16": next((name for name in ("amx_bf16", "avx512_bf16") if name in cpu), "none"),
        "python": platform.python_version(),
        **{name: version(name) for name in ("ray", "openvino", "onnxruntime-gpu", "opencv-python-headless", "numpy")},
    }


def machine_line() -> str:
    return line(machine())


def line(machine: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in machine.items())


def cores_busy() -> Callable[[], float]:
    """A function that says how many cores were busy on the mean since now, with whatever."""
    begin, before = time.monotonic(), _busy_s()
    return lambda: (_busy_s() - before) / (time.monotonic() - begin)


def _busy_s() -> float:
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
