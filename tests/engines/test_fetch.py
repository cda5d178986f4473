"""engines/fetch.py and `faceswap models fetch`: what is fetched, what is left alone, and what is said."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.engines.download import FetchError
from serve_app.engines.fetch import SOURCES, Outcome, Source, fetch
from serve_app.engines.manifest import MANIFEST, NAMES
from tests.engines.site import DETECTOR, PACK, PACK_SOURCE, RECOGNISER, SWAPPER, SWAPPER_SOURCE, Site, file_of, get, names, packed

FACESWAP = str(Path(sys.executable).parent / "faceswap")


def test_everything_is_fetched_into_a_new_folder_with_progress(tmp_path: Path, site: Site) -> None:
    told: list[tuple[str, int, int]] = []
    folder = tmp_path / "new" / "models"
    outcomes = fetch(
        folder,
        accept_license=True,
        progress=lambda *step: told.append(step),
        sources=(PACK_SOURCE, SWAPPER_SOURCE),
        base_url=site.base_url + "/",
    )
    assert outcomes == [Outcome(name, "fetched") for name in ("det.onnx", "rec.onnx", "swapper.onnx")]
    assert {name: (folder / name).read_bytes() for name in names(folder)} == {
        "det.onnx": DETECTOR,
        "rec.onnx": RECOGNISER,
        "swapper.onnx": SWAPPER,
    }
    assert ("pack.zip", len(PACK), len(PACK)) in told
    assert told[-1] == ("swapper.onnx", len(SWAPPER), len(SWAPPER))


def test_nothing_is_asked_for_before_the_licence_is_accepted(tmp_path: Path, site: Site) -> None:
    with pytest.raises(FetchError, match="non-commercial research only") as caught:
        fetch(tmp_path, accept_license=False, sources=(SWAPPER_SOURCE,), base_url=site.base_url)
    assert all(contact in str(caught.value) for contact in MANIFEST.contacts.values())
    assert site.asked == []
    assert names(tmp_path) == set()


def test_only_what_is_missing_is_fetched_and_nothing_is_overwritten(tmp_path: Path, site: Site) -> None:
    (tmp_path / "det.onnx").write_bytes(DETECTOR)
    (tmp_path / "swapper.onnx").write_bytes(b"the operator's own")
    outcomes = get(tmp_path, site, PACK_SOURCE, SWAPPER_SOURCE)
    assert outcomes == [Outcome("det.onnx", "present"), Outcome("rec.onnx", "fetched"), Outcome("swapper.onnx", "kept")]
    assert [path for path, _ in site.asked] == ["/zoo/pack.zip"]
    assert (tmp_path / "swapper.onnx").read_bytes() == b"the operator's own"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    get(tmp_path, site, PACK_SOURCE, SWAPPER_SOURCE)
    assert len(site.asked) == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_pack_that_the_operator_brought_is_used_and_left(tmp_path: Path, site: Site) -> None:
    (tmp_path / "pack.zip").write_bytes(PACK)
    get(tmp_path, site, PACK_SOURCE)
    assert site.asked == []
    assert names(tmp_path) == {"pack.zip", "det.onnx", "rec.onnx"}


@pytest.mark.parametrize(
    ("pack", "problem"),
    [(b"no zip", "has no det.onnx"), (packed(rec=RECOGNISER), "has no det.onnx"), (packed(det=b"other"), "is not the published one")],
)
def test_a_pack_with_other_members(tmp_path: Path, site: Site, pack: bytes, problem: str) -> None:
    site.files["pack.zip"] = pack
    with pytest.raises(FetchError, match=problem):
        get(tmp_path, site, Source(file_of("pack.zip", pack), members=PACK_SOURCE.members))
    assert not (tmp_path / "det.onnx").exists()


def test_two_fetches_of_one_folder(tmp_path: Path, site: Site) -> None:
    with (tmp_path / ".fetch.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match=r"another .* is at work"):
            get(tmp_path, site)
    assert site.asked == []


@pytest.mark.parametrize("base_url", ["file:///etc", "models.example", "http://", "http://[", "ftp://models.example"])
def test_a_base_url_that_is_none(tmp_path: Path, base_url: str) -> None:
    with pytest.raises(FetchError, match="is not a base URL"):
        fetch(tmp_path, accept_license=True, sources=(SWAPPER_SOURCE,), base_url=base_url)


def test_the_sources_bring_every_file_that_the_family_needs() -> None:
    assert [file.name for source in SOURCES for file in source.wanted] == list(NAMES.values())


def test_the_readme_of_the_folder_tells_what_is_fetched() -> None:
    text = (Path(__file__).resolve().parents[2] / "models" / "README.md").read_text()
    for source in SOURCES:
        assert source.file.sha256 in text
        for file in source.wanted:
            assert file.sha256 in text
            assert f"| `{file.name}` |" in text
            assert f"{file.size:,}" in text
    assert all(contact in text for contact in MANIFEST.contacts.values())


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [FACESWAP, "models", "fetch", *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_the_command_says_the_licence_and_asks_nobody(tmp_path: Path, site: Site) -> None:
    result = command("--base-url", site.base_url, "--folder", str(tmp_path))
    assert result.returncode == 1
    assert "non-commercial research only" in result.stderr
    assert "contact@insightface.ai" in result.stderr
    assert "--accept-license" in result.stderr
    assert site.asked == []


def test_the_command_names_a_file_that_is_not_there(tmp_path: Path, site: Site) -> None:
    result = command("--accept-license", "--base-url", site.base_url, "--folder", str(tmp_path))
    assert result.returncode == 1
    assert [path for path, _ in site.asked] == ["/zoo/buffalo_l.zip"]
    assert f"{site.base_url}/buffalo_l.zip is not there (404)" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_the_command_leaves_a_damaged_file_and_says_what_to_do(tmp_path: Path, site: Site) -> None:
    for name in NAMES.values():
        (tmp_path / name).write_bytes(b"<html>429</html>")
    result = command("--accept-license", "--base-url", site.base_url, "--folder", str(tmp_path))
    assert result.returncode == 1
    assert result.stdout.count("left as it is") == len(NAMES)
    assert "inswapper_128.onnx is a web page" in result.stderr
    assert "Move such a file away" in result.stderr
    assert site.asked == []
