"""Machines of a cluster on one machine: network namespaces on a bridge, each with a folder of its own where the others have theirs.

All of it lies in namespaces that `inside` makes, network, mounts and processes alike: nobody outside sees it, and it ends, with every
process in it, when the process that made them does. Needs root, and iproute2.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from serve_app.deployments.environment import ONE_MACHINE

_INSIDE = "FACESWAP_TEST_NAMESPACES"
HOST = "10.77.0.1"  # where everything is that is no node


def inside(module: str, arguments: Sequence[str]) -> bool:
    """True in namespaces of our own. Where it is not so yet: runs `python -m module arguments` there and exits as that does."""
    if _INSIDE in os.environ:
        _bridge()
        return True
    if os.geteuid() != 0:
        sys.exit("network namespaces need root (CAP_NET_ADMIN and CAP_SYS_ADMIN)")
    apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run([*apart, sys.executable, "-m", module, *arguments], env={**os.environ, _INSIDE: "yes"}, check=False)
    sys.exit(done.returncode)


def _bridge() -> None:
    Path("/run/netns").mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "none", "/run/netns")  # names of namespaces are files; these are seen by nobody else
    _ip("link set lo up")
    _ip("link add nodes type bridge")
    _ip(f"addr add {HOST}/24 dev nodes")
    _ip("link set nodes up")


class Machine:
    """A namespace with an address. `shared` is one path for all of them and another folder, `own`, in each: they have no disk in common."""

    def __init__(self, number: int, shared: Path, own: Path) -> None:
        self.name, self.address = f"node{number}", f"10.77.0.{10 + number}"
        self._shared, self._own = shared, own
        own.mkdir()
        shared.mkdir(exist_ok=True)
        _ip(f"netns add {self.name}")
        _ip(f"link add to-{self.name} type veth peer name eth0 netns {self.name}")
        _ip(f"link set to-{self.name} master nodes up")
        _ip(f"-n {self.name} addr add {self.address}/24 dev eth0")
        _ip(f"-n {self.name} link set lo up")
        _ip(f"-n {self.name} link set eth0 up")

    def start(self, command: Sequence[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        """A command that runs there, in this machine's place of the shared folder."""
        script = f'mount --bind "{self._own}" "{self._shared}" && exec "$@"'
        with log.open("ab") as out:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, "sh", "-c", script, "sh", *command],
                env={**_inherited(), **environment},
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )

    def kill(self) -> None:
        """SIGKILL for every process there, as often as new ones are found."""
        while pids := self.processes():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def cut(self) -> None:
        """The cable is pulled: what is sent goes nowhere, and nobody is told."""
        _ip(f"link set to-{self.name} down")

    def join(self) -> None:
        _ip(f"link set to-{self.name} up")

    def processes(self, start: str = "") -> list[int]:
        """Ids of the processes there whose command line begins so."""
        found = []
        for pid in map(int, _ip(f"netns pids {self.name}").split()):
            try:
                stat, command = Path(f"/proc/{pid}/stat").read_text(), Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                continue
            if command.startswith(start) and stat.rpartition(")")[2].split()[0] != "Z":
                found.append(pid)
        return found


def _ip(words: str) -> str:
    return _run("ip", *words.split())


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _inherited() -> dict[str, str]:
    """Without what keeps Ray on one machine, which the tests set for themselves."""
    return {name: value for name, value in os.environ.items() if name not in ONE_MACHINE}
