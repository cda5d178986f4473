"""engines/catalog.py: what is wrong with a folder of model files, said before any is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serve_app.engines.catalog import NAMES, PUBLISHED, Role, Row, check, require_insightface, table
from tests.standins import Standins

DOCS = Path(__file__).resolve().parents[2] / "docs" / "models.md"


@pytest.fixture
def folder(tmp_path: Path, functional: Standins) -> Path:
    for path in (functional.detector, functional.recogniser, functional.swapper):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path


def rows(folder: Path) -> dict[str, Row]:
    return {row.name: row for row in check(folder)}


def test_a_folder_with_everything(folder: Path) -> None:
    assert require_insightface(folder) == {role: folder / name for role, name in NAMES.items()}
    for role, name in NAMES.items():
        row = rows(folder)[name]
        assert (row.present, row.role, row.family, row.problem) == (True, role, "insightface", "")
        assert row.batchable
        assert row.licence == "non-commercial research only"


def test_other_names_will_do_where_the_signature_says_what_a_file_is(folder: Path) -> None:
    (folder / "det_10g.onnx").rename(folder / "scrfd_10g_bnkps.onnx")
    (folder / "inswapper_128.onnx").rename(folder / "reswapper_128.onnx")
    found = require_insightface(folder)
    assert found["detector"].name == "scrfd_10g_bnkps.onnx"
    assert found["swapper"].name == "reswapper_128.onnx"


def test_two_that_fit_are_not_guessed_between_unless_one_has_the_name(folder: Path) -> None:
    shutil.copy(folder / "inswapper_128.onnx", folder / "reswapper_128.onnx")
    assert require_insightface(folder)["swapper"].name == "inswapper_128.onnx"
    (folder / "inswapper_128.onnx").rename(folder / "another.onnx")
    with pytest.raises(RuntimeError, match=r"another.onnx and reswapper_128.onnx could each be an inswapper: keep one"):
        require_insightface(folder)


def test_a_hash_that_is_not_known_is_a_warning_with_the_known_ones(folder: Path) -> None:
    warning = rows(folder)["inswapper_128.onnx"].warning
    known = [each.sha256 for each in PUBLISHED if each.name == "inswapper_128.onnx"]
    assert len(known) == 2
    assert all(sha256 in warning for sha256 in known)
    assert rows(folder)["inswapper_128.onnx"].known is False
    assert rows(folder)["inswapper_128.onnx"].size_ok is False


@pytest.mark.parametrize("name", NAMES.values())
def test_a_download_that_failed_is_named_with_the_size_it_should_have(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"<html><body>429</body></html>")
    size = next(each.size for each in PUBLISHED if each.name == name)
    with pytest.raises(RuntimeError, match=rf"- {name} is a web page .*{size:,}") as caught:
        require_insightface(folder)
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_cut_short_is_named(folder: Path) -> None:
    whole = (folder / "inswapper_128.onnx").read_bytes()
    (folder / "inswapper_128.onnx").write_bytes(whole[:-1000])
    with pytest.raises(RuntimeError, match=r"- inswapper_128.onnx is cut short or damaged \(.* bytes\): fetch it again"):
        require_insightface(folder)
    assert not rows(folder)["inswapper_128.onnx"].batchable


def test_a_detector_where_a_swapper_should_be(folder: Path) -> None:
    shutil.copy(folder / "det_10g.onnx", folder / "inswapper_128.onnx")
    with pytest.raises(RuntimeError, match=r"- inswapper_128.onnx should be an inswapper, and by its signature is a face detector"):
        require_insightface(folder)


def test_all_problems_are_told_at_once(folder: Path) -> None:
    (folder / "det_10g.onnx").unlink()
    (folder / "w600k_r50.onnx").write_bytes(b"")
    with pytest.raises(RuntimeError) as caught:
        require_insightface(folder)
    assert [line.split()[1] for line in str(caught.value).splitlines()[1:]] == ["w600k_r50.onnx", "det_10g.onnx"]


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_folder_or_none_misses_all_three(tmp_path: Path, there: bool) -> None:
    folder = tmp_path if there else tmp_path / "nowhere"
    with pytest.raises(RuntimeError) as caught:
        require_insightface(folder)
    assert all(f"{name} (" in str(caught.value) and "is missing from" in str(caught.value) for name in NAMES.values())
    assert [row.present for row in check(folder)] == [False] * 3


def test_a_recogniser_of_another_space_is_not_taken(folder: Path) -> None:
    (folder / "w600k_r50.onnx").rename(folder / "glintr100.onnx")
    with pytest.raises(RuntimeError, match=r"glintr100.onnx is a recogniser whose embeddings mean nothing to inswapper_128"):
        require_insightface(folder)


def test_other_models_in_the_folder_do_no_harm(folder: Path) -> None:
    (folder / "notes.onnx").write_bytes(b"not for you")
    (folder / "readme.txt").write_text("hello")
    assert set(require_insightface(folder)) == set(NAMES)
    assert rows(folder)["notes.onnx"].problem


def test_the_table_is_for_people(folder: Path) -> None:
    (folder / "w600k_r50.onnx").write_bytes(b"<html>")
    lines = table(check(folder)).splitlines()
    assert lines[0].split() == ["file", "present", "size", "sha256", "role", "batchable", "licence"]
    assert [line.split()[0] for line in lines[1:4]] == sorted(NAMES.values())
    assert any(line.startswith("problem: w600k_r50.onnx is a web page") for line in lines)
    assert any(line.startswith("warning: inswapper_128.onnx has a sha256 that is not known") for line in lines)


def test_what_is_published_is_told_in_the_documentation() -> None:
    text = DOCS.read_text()
    for each in PUBLISHED:
        assert each.sha256 in text
        assert each.name in text
        assert f"{each.size:,}" in text or not each.size
        assert len(each.sha256) == 64


@pytest.mark.parametrize("role", NAMES)
def test_every_role_has_a_file_that_fits(role: Role) -> None:
    assert any(each.name == NAMES[role] and each.role == role and each.fits for each in PUBLISHED)
