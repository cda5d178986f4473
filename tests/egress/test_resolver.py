"""How many names are looked up at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.egress import resolver


@pytest.mark.parametrize(("limit", "threads"), [("max\n", 1200), ("1024\n", 256), ("100000\n", 1200), (None, 1200), ("2\n", 1)])
def test_lookups_leave_threads_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, threads: int) -> None:
    file = tmp_path / "pids.max"
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr(resolver, "_LIMIT", file)
    assert resolver.affordable(4096) == threads
    assert resolver.affordable(1) == 1
