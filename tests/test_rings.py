"""Imports point inward only, and only the outermost ring knows Ray."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "serve_app"

WATCHING = {"metrics", "about", "tracing"}  # what metrics, log lines and traces are told through; none of it knows where that goes

# What each part may import of ours, and which frameworks it may know.
RINGS: dict[str, tuple[set[str], set[str]]] = {
    "vision": ({"vision"}, set()),
    "engines": ({"vision", "engines"}, set()),
    "swap": ({"swap", "vision", "options", "stages", "metrics"}, set()),
    "options": (set(), set()),
    "stages": (set(), set()),
    "metrics": (set(), set()),
    "about": (set(), set()),
    "tracing": (set(), {"opentelemetry"}),
    "egress": ({"egress"}, {"aiohttp"}),
    "tasks": ({"tasks", "egress", *WATCHING}, {"sqlalchemy"}),
    "api": ({"vision", "tasks", "egress", "options", "stages", "api", *WATCHING}, {"starlette"}),
    "settings": (set(), set()),
    "secrets": ({"settings", "tasks"}, set()),
    "families": ({"vision", "engines", "settings"}, set()),
    "deployments": (
        {"vision", "engines", "swap", "options", "tasks", "egress", "api", "settings", "secrets", "families", "deployments", *WATCHING},
        {"starlette", "ray", "opentelemetry"},
    ),
    "app": ({"deployments", "families", "settings", "secrets", "tasks"}, {"ray"}),
    "configs": ({"configs", "app", "deployments", "settings", "secrets"}, {"ray"}),
    "cli": ({"cli", "configs", "deployments", "engines", "families", "metrics", "settings", "secrets", "tasks"}, {"ray"}),
}
FRAMEWORKS = {"ray", "starlette", "sqlalchemy", "fastapi", "aiohttp", "opentelemetry"}


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative imports hide which ring is meant"
            names |= {f"serve_app.{alias.name}" for alias in node.names} if node.module == "serve_app" else {node.module or ""}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_inward_only(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    ours, frameworks = RINGS[part]
    if path.relative_to(PACKAGE).as_posix() == "tasks/task.py":
        ours, frameworks = set(), set()
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "serve_app":
            assert rest, f"{path} imports the whole package"
            assert rest[0] in ours, f"{path} imports {name}"
        else:
            assert top not in FRAMEWORKS - frameworks, f"{path} imports {name}"


@pytest.mark.parametrize("deployment", ["ingress", "pipeline"])
def test_no_runtime_is_loaded_where_no_model_runs(deployment: str) -> None:
    """They take memory and start-up time of every replica."""
    code = f"import sys, serve_app.deployments.{deployment}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=PACKAGE.parent).stdout.split()
    assert f"serve_app.deployments.{deployment}" in loaded
    assert not {"onnxruntime", "openvino", "onnx", "tflite"} & set(loaded)
