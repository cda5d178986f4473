"""Whom a thread of this service interrupts when it wakes, and how punctual its timers are."""

from __future__ import annotations

import ctypes
import logging
import os
import sys

logger = logging.getLogger(__name__)

_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30
_SLACK_NS, _USUAL_SLACK_NS = 4_000_000, 50_000


def wake_without_interrupting() -> None:
    """This thread, and every process and thread that it starts from now on, wakes at less cost to what is running.

    It runs as SCHED_BATCH (sched(7)): its share of the cores is the same, but when it wakes and all are busy it waits for its turn. And
    sleeps, and waits whose time is up, may end 4 ms late (PR_SET_TIMERSLACK, prctl(2)), with another timer or at a tick, in
    place of an interrupt each; what is waited for wakes as soon as before.

    A swap makes hundreds of threads wake, each for microseconds; on busy cores that interrupts models, and costs them as much again
    (docs/decisions/0050). Call it before Ray is started. What somebody chose stays, and so does what the kernel refuses to change.
    """
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None).prctl
    if prctl(_PR_GET_TIMERSLACK) == _USUAL_SLACK_NS:
        prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(_SLACK_NS))
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        logger.warning("SCHED_BATCH, which spares models interruptions, is refused here: %s", error)
