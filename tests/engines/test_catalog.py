"""engines/catalog.py: what is wrong with a folder of model files, said before any is loaded."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from serve_app.engines import catalog, manifest
from serve_app.engines.catalog import Row, check, require_insightface, table
from serve_app.engines.manifest import MANIFEST, NAMES
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
    known = [each.sha256 for each in MANIFEST.files if each.name == "inswapper_128.onnx"]
    assert len(known) == 2
    assert all(sha256 in warning for sha256 in known)
    assert rows(folder)["inswapper_128.onnx"].known is False
    assert rows(folder)["inswapper_128.onnx"].size_ok is False


@pytest.mark.parametrize("name", NAMES.values())
def test_a_download_that_failed_is_named_with_the_size_it_should_have(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"<html><body>429</body></html>")
    size = next(each.size for each in MANIFEST.files if each.name == name)
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


def test_a_name_that_is_taken_by_another_does_not_hide_what_is_missing(folder: Path) -> None:
    (folder / "det_10g.onnx").rename(folder / "w600k_r50.onnx")
    with pytest.raises(RuntimeError) as caught:
        require_insightface(folder)
    assert [line.split()[1:4] for line in str(caught.value).splitlines()[1:]] == [
        ["w600k_r50.onnx", "should", "be"],
        ["det_10g.onnx", "(a", "face"],
    ]


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


PROPERTIES = ["present", "size", "sha256", "signature", "role", "family", "runtime", "batchable", "licence", "warning"]


def blocks(folder: Path) -> dict[str, dict[str, str]]:
    """What the command prints, by file and property."""
    found = {}
    for block in table(check(folder)).split("\n\n"):
        name, *lines = block.splitlines()
        found[name], label = dict[str, str](), ""
        for line in lines:
            assert len(line) < 160
            label = line[2:12].strip() or label
            found[name][label] = f"{found[name].get(label, '')} {line[13:]}".strip()
    return found


def test_the_table_tells_of_every_file_all_there_is_to_know(folder: Path) -> None:
    found = blocks(folder)
    assert list(found) == sorted(NAMES.values())
    assert all(list(block) == PROPERTIES for block in found.values())
    swapper = found["inswapper_128.onnx"]
    assert swapper["signature"] == "(target float32[1,3,128,128], source float32[1,512]) -> (output float32[1,3,128,128])"
    digest = hashlib.sha256((folder / "inswapper_128.onnx").read_bytes()).hexdigest()
    assert swapper["sha256"] == f"UNKNOWN ({digest})"
    assert swapper["size"].endswith("bytes, no published file has that")
    assert swapper["role"] == "swapper"
    assert swapper["family"] == "insightface"
    assert swapper["runtime"].startswith("cpu: OpenVINO ")
    assert "or ONNX Runtime f32, measured at start" in swapper["runtime"]
    assert "; cuda: " in swapper["runtime"]
    assert swapper["batchable"] == "yes, tested at start"
    assert swapper["licence"] == "non-commercial research only"


def test_the_table_says_what_is_wrong_and_what_is_missing(folder: Path) -> None:
    (folder / "w600k_r50.onnx").write_bytes(b"<html>")
    (folder / "det_10g.onnx").unlink()
    found = blocks(folder)
    assert found["w600k_r50.onnx"]["problem"].startswith("w600k_r50.onnx is a web page")
    assert found["det_10g.onnx"]["present"] == "no"
    assert found["det_10g.onnx"]["problem"].startswith("det_10g.onnx (a face detector) is missing from")


def test_a_file_in_the_manifest_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digest = hashlib.sha256((folder / "inswapper_128.onnx").read_bytes()).hexdigest()
    size = (folder / "inswapper_128.onnx").stat().st_size
    text = (Path(manifest.__file__).with_name("manifest.toml")).read_text()
    block = f'\n[[files]]\nname = "inswapper_128.onnx"\nrole = "swapper"\nsize = {size}\nsha256 = "{digest}"\n'
    (tmp_path / "manifest.toml").write_text(text + block)
    monkeypatch.setattr(catalog, "MANIFEST", manifest.read_manifest(tmp_path / "manifest.toml"))
    (row,) = (row for row in check(folder) if row.name == "inswapper_128.onnx")
    assert (row.known, row.size_ok, row.warning) == (True, True, "")
    assert blocks(folder)["inswapper_128.onnx"]["sha256"] == f"known ({digest})"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ('name = "a.onnx"\nrole = "swapper"\nsha256 = "12"', "a.onnx: a sha256 is 64"),
        (f'name = "a.onnx"\nrole = "painter"\nsha256 = "{"0" * 64}"', "a.onnx: there is no role painter"),
        (f'name = "a.onnx"\nsha256 = "{"0" * 64}"', "role"),
        ("name = ", "Invalid value"),
    ],
)
def test_a_manifest_with_a_slip_in_it_is_named(tmp_path: Path, entry: str, why: str) -> None:
    (tmp_path / "manifest.toml").write_text(f"[[files]]\n{entry}\n")
    with pytest.raises(RuntimeError, match=rf"manifest.toml cannot be used: .*{why}"):
        manifest.read_manifest(tmp_path / "manifest.toml")


def test_the_folder_of_the_models_shows_the_manifest() -> None:
    shown = Path(__file__).resolve().parents[2] / "models" / "manifest.toml"
    assert manifest.read_manifest(shown) == MANIFEST


def test_a_recogniser_that_is_no_known_one_is_told_of_at_start(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "w600k_r50.onnx").rename(folder / "w600k_mbf.onnx")
    require_insightface(folder)
    assert "w600k_mbf.onnx is not as large as any published recogniser; another recogniser than w600k_r50" in caplog.text
    assert "known: w600k_r50.onnx 4c06341c" in rows(folder)["w600k_mbf.onnx"].warning


def test_what_is_published_is_told_in_the_documentation() -> None:
    text = DOCS.read_text()
    for each in MANIFEST.files:
        assert each.sha256 in text
        assert each.name in text
        assert f"{each.size:,}" in text or not each.size


def test_every_role_has_one_file_to_have() -> None:
    usual = [each for each in MANIFEST.files if each.usual]
    assert [each.role for each in usual] == ["detector", "recogniser", "swapper"]
    assert all(each.fits and each.size for each in usual)
    assert set(MANIFEST.contacts) == set(NAMES)
