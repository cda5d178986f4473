"""The processes of a service."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from serve_app.deployments.supervisor import sweep

PROXY, CONTROLLER = "ray::ProxyActor", "ray::ServeController"


def members(session: int) -> list[str]:
    """Command lines of the processes of a session that are still alive."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            if int(sid) == session and state != "Z":
                alive.append((stat.parent / "cmdline").read_text())
        except OSError:
            continue
    return alive


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def replica(deployment: str) -> str:
    """How the command lines of its replicas begin."""
    return f"ray::ServeReplica:faceswap:{deployment}"


def named(session: int, start: str) -> list[int]:
    """Process ids of a session whose command line begins so, oldest first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_text().startswith(start) and os.getsid(int(folder.name)) == session:
                found.append(int(folder.name))
        except OSError:
            continue
    return sorted(found)


def policies(session: int) -> set[int]:
    """Of the scheduler, of all threads of a session: `os.SCHED_OTHER` and its like."""
    found = set[int]()
    for pid in named(session, ""):
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                found.add(os.sched_getscheduler(int(thread.name)))
    return found


def stands_still(pid: int) -> bool:
    """Every thread of it: SIGSTOP reaches them one after the other, also after `os.kill` has returned."""
    return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in Path(f"/proc/{pid}/task").glob("*/stat"))


def kill_all(supervisor: int) -> None:
    """SIGKILL for `faceswap serve` and for every process of the session that it made; returns when they are gone."""
    session = child_of(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    sweep(session)
