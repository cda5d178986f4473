"""Whom a thread of this service interrupts when it wakes."""

from __future__ import annotations

import logging
import os
import sys

logger = logging.getLogger(__name__)


def wake_without_interrupting() -> None:
    """This thread, and every process and thread that it starts from now on, runs as SCHED_BATCH (sched(7)): its share of the cores is the
    same, but when it wakes and all are busy it waits for its turn.

    A swap makes hundreds of threads wake, each for microseconds; on busy cores that interrupts models, and costs them as much again
    (docs/decisions/0050). Call it before Ray is started. A policy that somebody chose stays; where the kernel refuses, all stays as it was.
    """
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        logger.warning("SCHED_BATCH, which spares models interruptions, is refused here: %s", error)
