"""The processes of a service."""

from __future__ import annotations

from pathlib import Path


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
