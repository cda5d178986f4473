"""Keeps the whole service in one session of processes, so that it ends as one: no orphan, no leftover folder.

Ray's servers share the process group of whoever starts Ray. A SIGTERM to that group (a service manager, `timeout`, CI)
would kill them before their driver can drain, and a killed driver leaves agents behind. So the work runs in a session
of its own, which only this parent signals, and which it sweeps when the work has ended, however it ended.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

AGAIN = signal.SIGUSR1
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PREFIX = "faceswap-"
PR_SET_PDEATHSIG = 1


class Stop(BaseException):
    """The parent wants the work to end."""


def supervise(work: Callable[[Path], int]) -> int:
    """Run `work(folder)` in a session of its own with a temporary folder; its exit status.

    In `work`, a stop is the exception Stop, raised in the main thread (see `stop_on_signal`); SIGUSR1 is passed on. Call this before
    threads are started: it forks.
    """
    prune()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    child = os.fork()
    if child == 0:
        os._exit(_in_own_session(work, folder))
    for number in FORWARDED:
        signal.signal(number, lambda *_: os.kill(child, signal.SIGTERM))
    signal.signal(AGAIN, lambda *_: os.kill(child, AGAIN))
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # not reaped yet: until nobody signals it any more its number is its own
    for number in (*FORWARDED, AGAIN):
        signal.signal(number, signal.SIG_IGN)  # what is left is swept to the end
    _, status = os.waitpid(child, 0)
    sweep(child)
    shutil.rmtree(folder, ignore_errors=True)
    return os.waitstatus_to_exitcode(status)


def stop_on_signal() -> None:
    """Raise Stop at the next SIGTERM, once. Call it again after `ray.init`, which installs a handler of its own."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the draining
        raise Stop

    signal.signal(signal.SIGTERM, stop)


def wait_for_stop(again: Callable[[], None]) -> None:
    """Until Stop is raised. Calls `again` at each SIGUSR1."""
    asked: SimpleQueue[None] = SimpleQueue()  # whose `put` may interrupt its `get`
    signal.signal(AGAIN, lambda *_: asked.put(None))
    while True:
        asked.get()
        again()


def _in_own_session(work: Callable[[Path], int], folder: Path) -> int:
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # a killed parent stops the work too
    for number in (*FORWARDED, AGAIN):
        signal.signal(number, signal.SIG_IGN)
    stop_on_signal()
    try:
        return work(folder)
    except Stop:
        return 0
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1


def sweep(session: int, timeout_s: float = 5.0) -> None:
    """Kill every process of a session and wait until they are gone."""
    deadline = time.monotonic() + timeout_s
    while (left := _members(session)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def _members(session: int) -> list[int]:
    """Processes of a session, zombies left out (Linux: /proc/PID/stat, fields after the parenthesised name)."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state != "Z":
            members.append(int(stat.parent.name))
    return members


def prune() -> None:
    """Remove the folders of runs whose processes were killed together with their parent."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}[0-9]*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)
