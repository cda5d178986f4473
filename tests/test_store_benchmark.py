"""The benchmark of the store, with a tenth of the tasks: nothing that is asked for all the time gets slower as finished tasks pile up."""

from __future__ import annotations

import logging

import pytest

from benchmarks import store

_log = logging.getLogger(__name__)


@pytest.mark.alone
def test_what_is_asked_all_the_time_does_not_get_slower_with_finished_tasks() -> None:
    result = store.measured(rounds=15, many=5_000)
    _log.info("\n%s", store.table(result))
    assert {row["database"] for row in result["rows"]} == {"SQLite", "PostgreSQL"}
    assert result["missed"] == []
