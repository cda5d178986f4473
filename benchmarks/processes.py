"""What a tree of processes has cost so far."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import psutil


def cpu_seconds(root: int) -> dict[int, float]:
    """User and system time of a process and of all that it started and that still run, by process id."""
    spent = {}
    with suppress(psutil.NoSuchProcess):
        for process in family(root):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent[process.pid] = float(times.user + times.system)
    return spent


def spent(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Seconds between two looks at a tree. What ended in between is not known and not counted."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def by_role(before: Mapping[int, float], after: Mapping[int, float]) -> dict[str, float]:
    """`spent`, by what the processes call themselves, the most expensive first. While they still run."""
    roles: dict[str, float] = {}
    for pid, seconds in after.items():
        with suppress(psutil.NoSuchProcess):
            name = role(psutil.Process(pid))
            roles[name] = roles.get(name, 0.0) + seconds - before.get(pid, 0.0)
    return dict(sorted(roles.items(), key=lambda one: -one[1]))


def role(process: psutil.Process) -> str:
    """Ray's workers name themselves in their command line, as `ray::ServeReplica:faceswap:Ingress`."""
    command = " ".join(process.cmdline())
    if command.startswith("ray::"):
        return command.removeprefix("ray::").split(" ")[0].split(".")[0].rsplit(":", 1)[-1]
    return str(process.name())


def family(root: int) -> list[psutil.Process]:
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]
