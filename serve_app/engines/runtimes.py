"""Which native libraries are installed, and whether two of them stand in each other's way."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.metadata import distributions

# Distributions that write the same folder of site-packages: of two, the one installed last wins, in part and in
# silence. That is how a GPU service comes to run on the CPU.
TWINS = {
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "onnxruntime": (
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-directml",
        "onnxruntime-migraphx",
        "onnxruntime-openvino",
        "onnxruntime-qnn",
        "onnxruntime-rocm",
        "onnxruntime-training",
    ),
}
SHOWN = ("faceswap-serve", "numpy", "openvino", "ray", *TWINS["cv2"], *TWINS["onnxruntime"])


def check_twins(path: Sequence[str] | None = None) -> None:
    """Raises RuntimeError, naming them, when two distributions of one library are installed.

    path: folders to look in; those of sys.path when not given.
    """
    found = _installed(path)
    for module, names in TWINS.items():
        twins = [name for name in names if name in found]
        if len(twins) > 1:
            raise RuntimeError(
                f"{' and '.join(twins)} are installed together, and both write the folder {module}: what is loaded is chance. "
                f"Uninstall all of them, then install the one from the requirement files (with --no-deps)."
            )


def versions(path: Sequence[str] | None = None) -> dict[str, str]:
    """Version by distribution, of Python and of what decides what a result looks like."""
    found = _installed(path)
    return {"python": ".".join(map(str, sys.version_info[:3])), **{name: found[name] for name in SHOWN if name in found}}


def _installed(path: Sequence[str] | None) -> dict[str, str]:
    every = distributions() if path is None else distributions(path=list(path))
    return {re.sub(r"[-_.]+", "-", name).lower(): each.version for each in every if (name := each.metadata["Name"])}
