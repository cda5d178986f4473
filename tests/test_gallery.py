"""The gallery in short: a few swaps hold every gate, and what is wrong with a swap misses the gate that is there for it."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.gallery import __main__ as command
from benchmarks.gallery.gates import GATES
from benchmarks.gallery.shots import Shot, Studio
from benchmarks.gallery.steps import STEPS
from benchmarks.meshes import swapped
from serve_app.vision.face import Patch, Pixels, SwapItem
from serve_app.vision.geometry import similarity
from serve_app.vision.mask import hull, polygon
from serve_app.vision.mesh import VERTICES
from serve_app.vision.paste import paste
from tests.fit import laid
from tests.gallery import Person

SOURCE, TARGET = "astronaut", "t1-2"


@pytest.fixture(scope="module")
def studio(builtin_weights: Path) -> Studio:
    return Studio(builtin_weights)


@pytest.fixture(scope="module")
def patch(studio: Studio) -> Patch:
    return swapped(studio.engine(), SwapItem(studio.person(SOURCE).portrait, studio.person(TARGET).portrait))


def missed(shot: Shot) -> set[str]:
    return {gate.name for gate in GATES if not gate.holds(shot)}


def test_a_good_swap_holds_every_gate(studio: Studio, patch: Patch) -> None:
    onto = studio.person(TARGET)
    shot = studio.measure(SOURCE, TARGET, paste(onto.picture, [(patch, onto.matrix)]), laid(onto, patch))
    assert all(gate.asked_of(shot) for gate in GATES)
    assert missed(shot) == set()


def pasted(source: Person, target: Person) -> tuple[Pixels, Pixels]:
    """The source's face turned and scaled onto the target's and cut out with scissors; and the mask."""
    here, there = ((one.mesh[:VERTICES, :2] - one.matrix[:, 2]).astype(np.float64) for one in (source, target))
    size = target.picture.shape[1::-1]
    laid_on = cv2.warpAffine(source.picture, similarity(here, there).matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    mask = (polygon(target.picture.shape[:2], [hull(there, range(VERTICES))]) > 0.5).astype(np.uint8) * 255
    return np.where(mask[..., None] > 0, laid_on, target.picture).astype(np.uint8), mask


def test_a_face_that_is_pasted_without_blending_has_a_seam(studio: Studio) -> None:
    for source, target in ((SOURCE, TARGET), ("Hanks", "t1-5"), ("t1-3", "astronaut"), ("t1-0", "t1-2")):
        assert "seam" in missed(studio.measure(source, target, *pasted(studio.person(source), studio.person(target))))


@pytest.mark.parametrize(("levels", "share"), [(10, 1.0), (-10, 1.0), (25, 0.33)])
def test_a_step_of_a_few_levels_or_along_a_third_of_the_edge_is_a_seam(studio: Studio, patch: Patch, levels: int, share: float) -> None:
    onto = studio.person(TARGET)
    mask = laid(onto, patch)
    result = paste(onto.picture, [(patch, onto.matrix)])
    y, x = np.indices(mask.shape)
    middle_y, middle_x = np.argwhere(mask > 0).mean(0)
    stretch = np.abs(np.arctan2(y - middle_y, x - middle_x)) <= share * np.pi
    there = (mask > 127) & stretch
    result[there] = np.clip(result[there].astype(int) + levels, 0, 255)
    assert missed(studio.measure(SOURCE, TARGET, result, mask)) == {"seam"}


def hole(pixels: Pixels, value: float) -> Pixels:
    """Ten pixels wide on the cheek, added as the engine adds: in floats, rounded to 8 bits."""
    added = np.zeros(pixels.shape, np.float32)
    height, width = pixels.shape[:2]
    added[height // 2 : height // 2 + 10, width // 2 + 14 : width // 2 + 24] = value
    return np.asarray(cv2.add(added, pixels, dtype=cv2.CV_8U), np.uint8)


@pytest.mark.parametrize("value", [-255.0, np.nan, np.inf])
def test_what_is_black_or_no_number_is_a_hole(studio: Studio, patch: Patch, value: float) -> None:
    onto = studio.person(TARGET)
    broken = Patch(hole(patch.pixels, value), patch.mask)
    shot = studio.measure(SOURCE, TARGET, paste(onto.picture, [(broken, onto.matrix)]), laid(onto, broken))
    assert "black" in missed(shot)


def test_a_face_a_few_pixels_off_is_found_where_it_is(studio: Studio, patch: Patch) -> None:
    onto = studio.person(TARGET)
    off = onto.matrix - np.array([[0, 0, 4.0], [0, 0, 0]])
    shot = studio.measure(SOURCE, TARGET, paste(onto.picture, [(patch, off)]), laid(onto, patch))
    assert "landmarks" in missed(shot)


@pytest.mark.parametrize("source", ["astronaut", "Hanks", "t1-0", "t1-3", "t1-5"])
def test_no_swap_is_no_gain(studio: Studio, patch: Patch, source: str) -> None:
    onto = studio.person(TARGET)
    assert "gain" in missed(studio.measure(source, TARGET, onto.picture, laid(onto, patch)))


@pytest.mark.parametrize("wrong", ["Hanks", "t1-0", "t1-3", "t1-5"])
def test_somebody_elses_face_leads_nowhere(studio: Studio, patch: Patch, wrong: str) -> None:
    onto = studio.person(TARGET)
    shot = studio.measure(wrong, TARGET, paste(onto.picture, [(patch, onto.matrix)]), laid(onto, patch))
    assert {"lead", "first"} <= missed(shot)
    assert shot.nearest == SOURCE


def test_the_command_shows_a_few_swaps_on_a_page_and_a_picture_that_need_nothing_else(tmp_path: Path) -> None:
    done = CliRunner().invoke(command.app, ["--pairs", "4", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert len(re.findall(" <- .* seam .* gain ", done.output)) == 4
    sheet = cv2.imread(str(tmp_path / "gallery.png"))
    assert sheet is not None
    assert min(sheet.shape[:2]) > 800
    page = (tmp_path / "gallery.html").read_text()
    assert not re.search(r"https?://|<script|<link", page)
    assert all(url.startswith("data:image/jpeg;base64,") for url in re.findall(r'src="([^"]*)', page))
    assert page.count("<figure>") == 4 + sum(min(4, len(step.pairs)) for step in STEPS)
    assert "missed" not in re.sub(r"\.missed|<th>missed", "", page)


class Lazy:
    """An engine that leaves every face as it is."""

    def pre(self, item: SwapItem) -> SwapItem:
        return item

    def run(self, batch: list[SwapItem]) -> list[SwapItem]:
        return batch

    def post(self, item: SwapItem, raw: SwapItem) -> Patch:
        assert item.target.pixels is not None
        mask = np.zeros(item.target.pixels.shape[:2], np.uint8)
        mask[40:-40, 40:-40] = 255
        return Patch(item.target.pixels, mask)


def test_the_command_fails_where_a_gate_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Studio, "engine", lambda studio, **options: Lazy())
    done = CliRunner().invoke(command.app, ["--pairs", "1", "--folder", str(tmp_path)])
    assert done.exit_code == 1
    assert "missed: Hanks <- astronaut: " in done.output
    assert "gain 0.000, not more than 0.030" in done.output
    assert 'class="missed"' in (tmp_path / "gallery.html").read_text()
