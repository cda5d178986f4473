"""config/kuberay/rayservice.yaml is made from config/gpu.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml
from typer.testing import CliRunner

from serve_app.cli import app

ROOT = Path(__file__).resolve().parent.parent.parent
GPU, KUBERAY = ROOT / "config" / "gpu.yaml", ROOT / "config" / "kuberay" / "rayservice.yaml"


def test_the_shipped_rayservice_is_what_the_command_makes() -> None:
    made = CliRunner().invoke(app, ["config", "kuberay", "--config", str(GPU)])
    assert made.stdout == KUBERAY.read_text(), "run: faceswap config kuberay > config/kuberay/rayservice.yaml"


def test_it_runs_the_config_as_it_is_in_the_image_that_was_named(tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["config", "kuberay", "--config", str(GPU), "--image", "registry.example/faceswap@sha256:1"])
    service, policy = yaml.safe_load_all(made.stdout)
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == yaml.safe_load(GPU.read_text())
    cluster = service["spec"]["rayClusterConfig"]
    templates = [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]
    for template in templates:
        assert template["spec"]["containers"][0]["image"] == "registry.example/faceswap@sha256:1"
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
