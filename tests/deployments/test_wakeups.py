"""The scheduler's policy, in a process of its own each: it cannot be taken back everywhere."""

from __future__ import annotations

import os
import subprocess
import sys

CALL = """
import os
from serve_app.deployments.wakeups import wake_without_interrupting
{before}
wake_without_interrupting()
print(os.sched_getscheduler(0))
"""
REFUSES = """
def refuse(*_):
    raise PermissionError("not permitted")
os.sched_setscheduler = refuse
"""


def called(before: str) -> tuple[int, str]:
    """The policy afterwards, and what was said."""
    run = subprocess.run([sys.executable, "-c", CALL.format(before=before)], capture_output=True, text=True, check=True)
    return int(run.stdout), run.stderr


def test_who_wakes_waits_for_a_turn() -> None:
    assert called("os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))") == (os.SCHED_BATCH, "")


def test_a_policy_that_somebody_chose_stays() -> None:
    assert called("os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))") == (os.SCHED_IDLE, "")


def test_where_it_is_refused_the_service_goes_on_and_says_so() -> None:
    policy, said = called(REFUSES)
    assert policy == os.SCHED_OTHER
    assert "SCHED_BATCH" in said
    assert "not permitted" in said
