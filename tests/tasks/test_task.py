from __future__ import annotations

import re

from serve_app.tasks.task import Status, new_id, new_result_name, priority


def test_ranks_go_one_way() -> None:
    assert [status.rank for status in Status] == [0, 1, 2, 3, 3]
    assert [status for status in Status if status.terminal] == [Status.SUCCESS, Status.FAILURE]


def test_ids_are_the_clock_and_three_digits() -> None:
    ids = {new_id(1_700_000_000_000) for _ in range(500)}
    assert all(re.fullmatch(r"1700000000000\d{3}", id) for id in ids)
    assert len(ids) > 300
    assert all(int(id) < 2**53 for id in ids), "clients carry ids as JavaScript numbers"


def test_result_names_cannot_be_guessed_from_the_id() -> None:
    names = {new_result_name("1700000000000123", "png") for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch(r"1700000000000123-[A-Za-z0-9_-]{22}\.png", name) for name in names)


def test_fast_modes_go_first() -> None:
    assert priority("fast") == priority("turbo") == priority(None) == priority("other") > priority("relax")
