"""The environment that the lock files make."""

from __future__ import annotations

import re
from pathlib import Path

import onnxruntime

from serve_app.engines.runtimes import check_twins

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"


def test_one_distribution_of_each_library_and_the_gpu_provider_is_there() -> None:
    check_twins()
    assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def test_the_locks_hold_hashes_no_addresses_and_no_twin() -> None:
    for lock in ("runtime.txt", "test.txt", "gpu.txt"):
        text = (REQUIREMENTS / lock).read_text()
        assert "://" not in text
        assert "--index" not in text
        names = re.findall(r"^([A-Za-z0-9._-]+)==", text, re.M)
        assert not {"opencv-python", "onnxruntime", "openvino-telemetry"} & set(names)
        for block in re.split(r"\n(?=[a-z0-9])", text.strip()):
            if not block.startswith("#"):
                assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_other_locks_hold_the_runtime_lock_unchanged() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^([A-Za-z0-9._-]+==\S+)", (REQUIREMENTS / lock).read_text(), re.M))

    assert pins("runtime.txt") <= pins("test.txt")
    assert pins("runtime.txt") <= pins("gpu.txt")
    assert any(pin.startswith("nvidia-cudnn-cu13==9.") for pin in pins("gpu.txt"))
