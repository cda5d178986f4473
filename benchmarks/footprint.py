"""The processes of a running service: what memory they have, and what CPU they took."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_KB = re.compile(r"^(Rss|Pss|Private_Clean|Private_Dirty):\s+(\d+) kB$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """MB of memory: resident (rss), with what it shares in shares (pss), its alone (own), and of that what it has written (written): a
    library's pages become its alone when another process that had mapped them ends. cpu_s: seconds of a core since its start.
    """

    pid: int
    name: str
    rss: float
    pss: float
    own: float
    written: float
    cpu_s: float


def processes(supervisor: int) -> list[Process]:
    """Of the service that this process started, itself among them; by process id."""
    found = [_process(pid) for pid in sorted(_tree(supervisor))]
    return [process for process in found if process is not None]


def _tree(root: int) -> set[int]:
    """The process and all of the session that its child began: Ray's servers are nobody's children any more."""
    sessions = {root, *_children(root)}
    pids = {root}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) in sessions:
                pids.add(int(folder.name))
        except ProcessLookupError:
            continue
    return pids


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _process(pid: int) -> Process | None:
    """None when it has ended meanwhile."""
    folder = Path("/proc", str(pid))
    try:
        memory = {name: int(kb) * 1024 / 1e6 for name, kb in _KB.findall((folder / "smaps_rollup").read_text())}
        title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except (ProcessLookupError, FileNotFoundError):
        return None
    if not memory:  # a zombie
        return None
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    written = memory["Private_Dirty"]
    return Process(pid, name_of(title), memory["Rss"], memory["Pss"], memory["Private_Clean"] + written, written, cpu)


def name_of(title: str) -> str:
    """What people call it: the deployment of a replica, the server of Ray, the command."""
    if match := re.match(r"ray::ServeReplica:[^:]+:(\w+)", title):
        return match[1]
    if match := re.match(r"ray::(\w+)", title):
        return match[1]
    for word in title.split():
        if word.endswith(".py"):
            return Path(word).stem
        if Path(word).name in ("raylet", "gcs_server", "faceswap"):
            return Path(word).name
    return title.split()[0] if title.split() else "?"
