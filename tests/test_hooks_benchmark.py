"""The benchmark of hooks with fewer of them: the dead ones are in nobody's way."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from benchmarks import hooks
from benchmarks.deadhooks import KINDS
from benchmarks.hooks import LATEST_S, Crowd

DEAD = 200
LEAST_RATIO = 0.75  # for machines that do other things as well; `make bench NAME=hooks` wants 0.95 of the whole service

pytestmark = pytest.mark.alone
_log = logging.getLogger(__name__)


@pytest.mark.parametrize("kind", KINDS)
def test_a_live_hook_hears_soon_although_many_dead_ones_come_first(kind: str) -> None:
    rows = hooks.live([Crowd(kind, DEAD, 1), Crowd(kind, 1, DEAD)], DEAD)
    _log.info("%s", rows)
    assert max(row["s"] for row in rows) < LATEST_S


async def test_tasks_go_on_while_dead_hooks_are_retried(tmp_path: Path) -> None:
    ratio = await hooks.carried(tmp_path / "tasks.db", tmp_path / "blobs", turns=1, seconds=1.5)
    _log.info("%.2f of the tasks a second", ratio)
    assert ratio > LEAST_RATIO
