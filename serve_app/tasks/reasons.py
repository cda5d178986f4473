"""Why tasks fail: the classes of reasons, and what `failReason` says of those that no worker ends, in Chinese and English."""

from __future__ import annotations

from enum import StrEnum

CANCELLED = "取消任务"
OVERDUE = "执行超时"


class Cause(StrEnum):
    """Of the texts there are too many for a metric or a log."""

    CANCELLED = "cancelled"
    OVERDUE = "overdue"
    WORN_OUT = "worn_out"
    PICTURE = "picture"  # it cannot be used for what was asked: no face, not readable, ...
    INPUTS_GONE = "inputs_gone"
    INTERNAL = "internal"


def overdue(deadline_s: float) -> str:
    return f"{OVERDUE} (not finished within {deadline_s:g} s)"


def worn_out(attempts: int) -> str:
    return f"多次尝试失败 (given up after {attempts} attempts: the worker, or a model that it needed, was lost each time)"
