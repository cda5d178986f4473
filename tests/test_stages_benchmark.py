"""The stage benchmark holds every stage, on both sides; how fast they are is not for a test to say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks import stages, swaps
from benchmarks.stages import compared, table

CODECS = {"decode JPEG", "encode JPEG", "decode PNG", "encode PNG"}
NETS = {"detect", "embed", "swap"}


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    threads = cv2.getNumThreads()
    result = stages.measured(3)
    assert cv2.getNumThreads() == threads
    return result


def test_every_stage_is_compared_with_the_library(result: dict[str, Any]) -> None:
    rows = result["stages"]
    assert set(rows) == CODECS | NETS | {"letterbox", "paste"}
    assert {name for name, row in rows.items() if "fast_ratio" in row} == NETS
    for row in rows.values():
        assert all(math.isfinite(value) and value > 0 for value in row.values())
    assert [mesh["mesh_px"] for mesh in result["builtin"]] == [110, 335]
    for mesh in result["builtin"]:
        assert mesh["measured_px"] == pytest.approx(mesh["mesh_px"], rel=0.1)
        assert 0 < mesh["best_ms"] <= mesh["slowest_best_ms"]
    batches = result["batches"]
    assert list(batches["ms"]) == ["exact", *(f"fast {count}" for count in swaps.BUCKETS)]
    assert batches["ratio"] == pytest.approx(batches["ms"]["exact"] / min(list(batches["ms"].values())[2:]))
    shown = table(result)
    assert ("**Not measured**: it has none" in shown) != swaps.has_amx()
    assert all(f"| {name} |" in shown for name in (*rows, 110, 335))


def test_the_ratio_is_the_librarys_median_over_ours() -> None:
    library, ours = iter((9.0, 0.2, 0.5, 0.4)), iter((9.0, 0.1, 0.1, 7.0))  # the first of each is not counted
    row = compared({"library": lambda: next(library), "exact": lambda: next(ours)}, 3)
    assert row == pytest.approx({"library_ms": 400, "exact_ms": 100, "exact_ratio": 4})


def test_batches_must_pay_where_the_processor_has_amx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swaps, "RATIO", 1e9)
    without, missed = (swaps.run(tmp_path, "functional", 1, amx=amx) for amx in (False, True))
    assert without["missed"] == []
    assert "**Not measured**" in swaps.lines(without)[0]
    (miss,) = missed["missed"]
    assert miss.startswith("inswapper_128 in batches is ")
    assert swaps.lines(missed)[0].endswith("where the processor has AMX. It has: missed.")
    monkeypatch.setattr(swaps, "RATIO", 0.0)
    assert swaps.lines(swaps.run(tmp_path, "functional", 1, amx=True))[0].endswith("It has: holds.")


@pytest.mark.parametrize(("flags", "expected"), [("avx512_bf16 amx_bf16 amx_tile", True), ("avx512_bf16", False), ("xamx_bf16", False)])
def test_amx_is_read_from_the_processors_flags(tmp_path: Path, flags: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert swaps.has_amx(tmp_path / "cpuinfo") is expected
    assert not swaps.has_amx(tmp_path / "nothing")


def test_what_must_hold_and_does_not_is_named(result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "PASTE_RATIO", 1e9)
    monkeypatch.setattr(stages, "MESH_MS", 0.0)
    missed = stages.missed({**result, "batches": {"missed": []}})  # small stand-ins say nothing of AMX
    assert [miss.split(" is ")[0].split(" at ")[0] for miss in missed] == ["paste", "a built-in swap"]
