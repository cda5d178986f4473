"""Server-Timing (a W3C header, which browsers and proxies show): how long the stages of the work took that an answer is about."""

from __future__ import annotations

from collections.abc import Mapping

from serve_app.tasks.task import Task

HEADER = "Server-Timing"


def server_timing(ms: Mapping[str, float]) -> dict[str, str]:
    """The header, where there is something to say. ms: wall-clock milliseconds by stage, in the order in which they ran."""
    return {HEADER: ", ".join(f"{stage};dur={value:g}" for stage, value in ms.items())} if ms else {}


def timing_of(task: Task) -> dict[str, str]:
    """That of the work on an ended task."""
    stages = task.properties.get("stages")
    return server_timing(stages) if task.status.terminal and isinstance(stages, dict) else {}
