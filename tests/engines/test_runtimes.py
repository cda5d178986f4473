"""engines/runtimes.py: one distribution of each native library, or no start."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from serve_app.engines.runtimes import check_twins, versions


def install(folder: Path, name: str, version: str = "1.0") -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_this_environment_has_no_twins() -> None:
    check_twins()


def test_this_environment_has_the_headless_opencv_and_the_gpu_onnx_runtime() -> None:
    assert {"opencv-python-headless", "onnxruntime-gpu", "openvino", "numpy", "python"} <= versions().keys()
    assert {"opencv-python", "onnxruntime"}.isdisjoint(versions())
    assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    assert versions()["onnxruntime-gpu"] == onnxruntime.__version__


@pytest.mark.parametrize(
    "twins",
    [("opencv-python", "opencv-python-headless"), ("onnxruntime", "onnxruntime-gpu"), ("ONNXRuntime_GPU", "onnxruntime-openvino")],
)
def test_twins_are_both_named(tmp_path: Path, twins: tuple[str, str]) -> None:
    for name in ("numpy", *twins):
        install(tmp_path, name)
    with pytest.raises(RuntimeError) as error:
        check_twins([str(tmp_path)])
    for name in twins:
        assert name.lower().replace("_", "-") in str(error.value)
    assert "--no-deps" in str(error.value)


def test_one_of_each_is_fine_even_when_seen_in_two_folders(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        install(tmp_path / folder, "onnxruntime-gpu")
        install(tmp_path / folder, "opencv-python")
    check_twins([str(tmp_path / "one"), str(tmp_path / "two")])


def test_versions_are_those_installed(tmp_path: Path) -> None:
    install(tmp_path, "onnxruntime-gpu", "9.8")
    install(tmp_path, "unrelated", "1.0")
    found = versions([str(tmp_path)])
    assert found.pop("python").startswith("3.")
    assert found == {"onnxruntime-gpu": "9.8"}
