"""A wheel of this project has all of it: what `pip install` makes of a checkout runs without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "requirements", "config", "serve_app")
KINDS = {".py", ".toml", ".yaml", ".mako"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files, as pip lays them down."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in (ROOT / name for name in BUILT_FROM):
        if path.is_dir():
            shutil.copytree(path, source / path.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=120)
    (wheel,) = out.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(out / "site")
    return out / "site"


def test_a_wheel_has_every_file_of_the_package(installed: Path) -> None:
    tree = {path.relative_to(ROOT) for path in (ROOT / "serve_app").rglob("*") if path.is_file() and path.suffix in KINDS}
    shipped = {Path("serve_app/shipped") / path.name for path in (ROOT / "config").glob("*.yaml")}
    assert len(shipped) > 1
    assert tree | shipped <= {path.relative_to(installed) for path in installed.rglob("*")}


def test_its_command_runs_where_there_is_no_checkout(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    run = "import sys, serve_app.cli as cli; print(cli.__file__, file=sys.stderr); cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", run, "config", "kuberay"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert str(installed) in done.stderr
    assert done.stdout == (ROOT / "config" / "kuberay" / "rayservice.yaml").read_text()
