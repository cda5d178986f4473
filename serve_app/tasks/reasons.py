"""Why tasks fail that no worker ends: what their `failReason` says, in Chinese and English."""

from __future__ import annotations

CANCELLED = "取消任务"
OVERDUE = "执行超时"


def overdue(deadline_s: float) -> str:
    return f"{OVERDUE} (not finished within {deadline_s:g} s)"


def worn_out(attempts: int) -> str:
    return f"多次尝试失败 (given up after {attempts} attempts: the worker, or a model that it needed, was lost each time)"
