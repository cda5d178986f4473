"""How Linux shares the cores among the threads of this service."""

from __future__ import annotations

import logging
import os
import sys

logger = logging.getLogger(__name__)


def as_batch_jobs() -> None:
    """This thread, and every process and thread that it starts from now on, runs as SCHED_BATCH (sched(7)): its share of the cores is the
    same, but waking up interrupts nobody.

    A swap wakes hundreds of threads, each for microseconds, and most of them in the middle of a model's run: what the model had in the
    core's caches is gone each time (docs/decisions/0050). On idle cores nothing changes. Call it before Ray is started. Where the kernel
    does not let us, or is not Linux, everything stays as it was.
    """
    if sys.platform != "linux":
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        logger.debug("SCHED_BATCH: %s", error)
