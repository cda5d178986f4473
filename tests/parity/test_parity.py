"""The service computes what the library computes, stage by stage; and the comparison itself notices when it does not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import parity
from serve_app.vision.face import FaceError, Faces, Floats, Frame, Matrix, Patch, Pixels, Square
from tests.parity import ours as service
from tests.parity.cases import case
from tests.parity.ours import Ours
from tests.parity.reference import Reference
from tests.parity.refusals import refusals
from tests.parity.stages import Table, lines, tabulate
from tests.standins import Standins, build

NARROW = 20
ONE_FACE = 6  # a case with one
FEW_FACES = (2, 30)  # three found at 640, two at 128 only


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("standins")


@pytest.fixture(scope="module")
def files(folder: Path) -> Standins:
    return build(folder / "narrow", "narrow")


@pytest.fixture(scope="module")
def reference(files: Standins) -> Reference:
    return Reference(files)


@pytest.fixture(scope="module")
def ours(files: Standins) -> Ours:
    return service.load(files)


@pytest.fixture(scope="module")
def fast(files: Standins) -> Ours:
    return service.load(files, precision="fast")


def test_every_stage_equals_the_library_on_random_cases(reference: Reference, ours: Ours, fast: Ours) -> None:
    table = tabulate(reference, ours, fast, map(case, range(NARROW)))
    assert not table.missed, "\n".join(lines(table))
    assert table.rows["whole frame"].compared >= NARROW // 2


def test_every_stage_equals_the_library_at_the_real_size() -> None:
    with tempfile.TemporaryDirectory() as folder:  # 746 MB that pytest would keep
        table = parity.run("true_cost", Path(folder), ONE_FACE, 1)
    assert not table.missed, "\n".join(lines(table))


def test_what_the_library_fails_on_has_an_answer(reference: Reference, ours: Ours) -> None:
    found = list(refusals(reference, ours))
    assert len(found) == 8
    assert [refusal.name for refusal in found if not refusal.fails] == []
    assert [refusal.name for refusal in found if not refusal.kept] == []


def test_a_case_is_the_same_every_time() -> None:
    first, second = case(3), case(3)
    assert np.array_equal(first.picture, second.picture)
    assert np.array_equal(first.stranger, second.stranger)


def rolled(frame: Frame) -> Frame:
    return replace(frame, inside=np.roll(frame.inside, 1, axis=1))


def darker(patch: Patch) -> Patch:
    return replace(patch, pixels=np.maximum(patch.pixels, 1) - np.uint8(1))


def moved(matrix: Matrix, pixels: float) -> Matrix:
    return np.asarray(matrix + np.array([[0, 0, pixels], [0, 0, 0]]))


def reversed_(faces: Faces) -> Faces:
    return Faces(faces.boxes[::-1], faces.scores[::-1], faces.keypoints[::-1])


def black(square: Square) -> Square:
    return replace(square, pixels=np.zeros_like(square.pixels))


def never_refusing(ours: Ours, picture: Pixels, points: Floats, size: int) -> Square:
    try:
        return ours.crop(picture, points, size)
    except FaceError:
        return Square(np.zeros((size, size, 3), np.uint8), points, np.eye(2, 3))


# Each of them is as small as the stage's tolerance lets it be, or leaves one step out.
BREAKS: dict[str, Callable[[Ours], Ours]] = {
    "letterbox": lambda ours: replace(ours, letterbox=lambda picture, side: rolled(ours.letterbox(picture, side))),
    "detection 640": lambda ours: replace(ours, detect=lambda frames: ours.detect(frames).scaled(1 + 1e-6)),
    "detection 128 + 640": lambda ours: replace(ours, detect=lambda frames: ours.detect(frames[-1:])),
    "order": lambda ours: replace(ours, detect=lambda frames: reversed_(ours.detect(frames))),
    "alignment": lambda ours: replace(
        ours, crop=lambda *where: (square := ours.crop(*where)) and replace(square, matrix=moved(square.matrix, 1e-9))
    ),
    "crop": lambda ours: replace(ours, crop=lambda *where: black(ours.crop(*where))),
    "embedding": lambda ours: replace(ours, embed=lambda *face: ours.embed(*face) * np.float32(1.001)),
    "latent": lambda ours: replace(ours, latent=lambda embedding: embedding / np.linalg.norm(embedding)),
    "swapped crop": lambda ours: replace(ours, swap=lambda *what: [darker(patch) for patch in ours.swap(*what)]),
    "paste": lambda ours: replace(
        ours, paste=lambda picture, patches: ours.paste(picture, [(patch, moved(matrix, 0.5)) for patch, matrix in patches])
    ),
    "whole frame": lambda ours: replace(ours, swap=lambda squares, embedding: ours.swap(squares, -embedding)),
    "refusals": lambda ours: replace(ours, crop=lambda *where: never_refusing(ours, *where)),
}


@pytest.mark.parametrize("stage", BREAKS)
def test_a_broken_stage_is_seen(reference: Reference, ours: Ours, fast: Ours, stage: str) -> None:
    assert stage in tabulate(reference, BREAKS[stage](ours), fast, map(case, FEW_FACES)).missed


def noisy(values: Floats, share: float) -> Floats:
    wrong = np.random.default_rng(0).standard_normal(values.shape)
    return np.asarray(values + share * wrong * np.sqrt(np.mean(values**2)), np.float32)


def paler(patch: Patch, levels: int) -> Patch:
    return replace(patch, pixels=np.where(patch.pixels < 128, patch.pixels + levels, patch.pixels - levels).astype(np.uint8))


FAST_BREAKS: dict[str, Callable[[Ours], Ours]] = {
    "fast keypoints": lambda fast: replace(fast, detect=lambda frames: fast.detect(frames).scaled(1.05)),
    "fast embedding": lambda fast: replace(fast, embed=lambda *face: noisy(fast.embed(*face), 0.05)),
    "fast crop": lambda fast: replace(fast, swap=lambda *what: [paler(patch, 4) for patch in fast.swap(*what)]),
}


@pytest.mark.parametrize("stage", FAST_BREAKS)
def test_a_fast_model_that_is_off_is_seen(reference: Reference, ours: Ours, fast: Ours, stage: str) -> None:
    assert tabulate(reference, ours, FAST_BREAKS[stage](fast), map(case, FEW_FACES)).missed == [stage]


def test_one_crop_that_is_off_is_seen_among_many_that_are_not() -> None:
    table = Table()
    table.add("good", [("fast crop", 0.001)] * 1000)
    assert "fast crop" not in table.missed
    table.add("a flat square", [("fast crop", 0.0101)])
    assert "fast crop" in table.missed
    (line,) = [line for line in lines(table) if line.startswith("| fast crop |")]
    assert line == "| fast crop | 1001 | 0.0101 | 0.01 | MISSED: a flat square (39.9 dB, all together 59.6 dB) |"


def test_unbroken_the_same_cases_hold(reference: Reference, ours: Ours, fast: Ours) -> None:
    assert tabulate(reference, ours, fast, map(case, FEW_FACES)).missed == []


def test_the_command_prints_a_table_and_fails_on_a_miss(folder: Path, files: Standins, monkeypatch: pytest.MonkeyPatch) -> None:
    app = parity.app
    options = ["--narrow", "1", "--true-cost", "0", "--first", str(ONE_FACE), "--folder", str(folder)]
    good = CliRunner().invoke(app, options)
    assert (good.exit_code, "MISSED" in good.output) == (0, False), good.output
    load = service.load
    monkeypatch.setattr(service, "load", lambda *args, **kwargs: BREAKS["paste"](load(*args, **kwargs)))
    bad = CliRunner().invoke(app, options)
    assert bad.exit_code == 1
    assert "| paste | " in bad.output
    assert "missed: paste" in bad.output
