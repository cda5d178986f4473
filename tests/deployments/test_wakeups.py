"""The scheduler's policy and the slack of timers, in a process of its own each: it cannot be taken back everywhere."""

from __future__ import annotations

import os
import subprocess
import sys

CALL = """
import ctypes, os
prctl = ctypes.CDLL(None).prctl
from serve_app.deployments.wakeups import wake_without_interrupting
{before}
wake_without_interrupting()
print(os.sched_getscheduler(0), prctl(30))
"""
REFUSES = """
def refuse(*_):
    raise PermissionError("not permitted")
os.sched_setscheduler = refuse
"""
LATER = """
import subprocess, sys, threading
thread = threading.Thread(target=lambda: print(prctl(30), flush=True))
thread.start()
thread.join()
subprocess.run([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).prctl(30))"], check=True)
"""
USUAL = "os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)); prctl(29, 50_000)"


def called(before: str) -> tuple[int, int, str]:
    """The policy and the slack in ns afterwards, and what was said."""
    run = subprocess.run([sys.executable, "-c", CALL.format(before=before)], capture_output=True, text=True, check=True)
    policy, slack = run.stdout.split()
    return int(policy), int(slack), run.stderr


def test_who_wakes_waits_for_a_turn_and_for_other_timers() -> None:
    assert called(USUAL) == (os.SCHED_BATCH, 4_000_000, "")


def test_what_somebody_chose_stays() -> None:
    assert called("os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); prctl(29, 1_000)") == (os.SCHED_IDLE, 1_000, "")


def test_what_is_started_later_has_it_too() -> None:
    script = CALL.format(before=USUAL) + LATER
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-2:] == ["4000000", "4000000"]


def test_where_it_is_refused_the_service_goes_on_and_says_so() -> None:
    policy, slack, said = called(f"{USUAL}{REFUSES}")
    assert (policy, slack) == (os.SCHED_OTHER, 4_000_000)
    assert "SCHED_BATCH" in said
    assert "not permitted" in said
