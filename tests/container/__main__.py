"""Goes through the Dockerfile without a Docker engine, and uses what comes out: `make image`. Needs root; takes some minutes.

Its base is this machine's own root, under an overlay that keeps every change: RUN, COPY and ENV are done there for real. Then
the image's CMD runs as compose.yaml runs it: read-only root, /tmp that executes nothing, the image's user without capabilities, no
network but loopback. It must become healthy by the image's own HEALTHCHECK, swap a face and stop.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.container.dockerfile import ROOT, Step, steps

CLONE_NEWNET = 0x40000000
HEALTHY_S = 180.0
STOP_S = 90.0
INSIDE = "FACESWAP_IMAGE_TEST"
# This machine's way to its package registries; an image has none of it.
BORROWED = re.compile("PIP_|SSL_CERT|(http|https|no)_proxy$", re.I)


class Image:
    """What the instructions make, one after the other, in `root`."""

    def __init__(self, root: Path, arguments: dict[str, str]) -> None:
        self.root = root
        self.folder = "/"
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.user = "0:0"
        self.command: list[str] = []
        self.health: list[str] = []
        self._arguments = arguments

    def do(self, step: Step) -> None:
        print(f"--- {step.name} {step.text}", flush=True)
        match step.name:
            case "ARG":
                for name, default in step.pairs().items():
                    self._arguments.setdefault(name, default)
            case "ENV":
                for name, value in step.pairs().items():
                    self.environment[name] = value.replace("$PATH", self.environment["PATH"])
            case "WORKDIR":
                self.folder = step.text
                (self.root / step.text.lstrip("/")).mkdir(parents=True)
            case "COPY":
                *sources, target = step.text.split()
                self._copy(sources, self.root / self.folder.lstrip("/") / target)
            case "RUN":
                borrowed = {name: value for name, value in os.environ.items() if BORROWED.match(name)}
                self._run(["/bin/sh", "-c", step.text], {**borrowed, **self._arguments, **self.environment})
            case "USER":
                self.user = step.text
            case "CMD":
                self.command = step.command()
            case "HEALTHCHECK":
                self.health = step.command()
            case "FROM" | "VOLUME" | "EXPOSE":
                pass
            case other:
                raise NotImplementedError(other)

    def as_user(self, command: list[str]) -> list[str]:
        """In the root, as the image's user, with nothing that root may do."""
        uid, gid = self.user.split(":")
        drop = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        return ["chroot", str(self.root), *drop, "sh", "-c", 'cd "$0" && exec "$@"', self.folder, *command]

    def _copy(self, sources: list[str], target: Path) -> None:
        for source in (ROOT / name for name in sources):
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.in" if source.name == "requirements" else "")
                shutil.copytree(source, target, symlinks=True, ignore=ignore, dirs_exist_ok=True)
            else:
                shutil.copy(source, target)

    def _run(self, command: list[str], environment: dict[str, str]) -> None:
        there = ["chroot", str(self.root), "sh", "-c", 'cd "$0" && exec "$@"', self.folder, *command]
        subprocess.run(there, env={**environment, "HOME": "/root"}, check=True)


def build(folder: Path, arguments: dict[str, str]) -> Image:
    """In a mount namespace of our own: see `main`."""
    for name in ("upper", "work", "root"):
        (folder / name).mkdir()
    root = folder / "root"
    _mount("overlay", "overlay", root, f"lowerdir=/,upperdir={folder / 'upper'},workdir={folder / 'work'}")
    _mount("tmpfs", "tmpfs", root / "tmp", "mode=1777")
    _mount("proc", "proc", root / "proc")
    subprocess.run(["mount", "--rbind", "/dev", root / "dev"], check=True)
    image = Image(root, arguments)
    for step in steps():
        image.do(step)
    return image


def use(image: Image) -> None:
    """In a network namespace of our own."""
    from tests.pictures import ASTRONAUT, HANKS
    from tests.service.client import Client

    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    uid, gid = image.user.split(":")
    subprocess.run(["mount", "-o", "remount,ro", image.root], check=True)
    _mount("tmpfs", "tmpfs", image.root / "tmp", "mode=1777,noexec,nosuid,nodev,size=2g")
    _mount("tmpfs", "tmpfs", image.root / "data", f"mode=0700,uid={uid},gid={gid}")
    _mount("tmpfs", "tmpfs", image.root / "dev" / "shm", "mode=1777,size=1g")
    environment = {**image.environment, "HOME": "/home/faceswap", "FACESWAP_SECRET": "a secret"}
    service = subprocess.Popen(image.as_user(image.command), env=environment)
    started = time.monotonic()
    while subprocess.run(image.as_user(image.health), env=environment, capture_output=True).returncode:
        if service.poll() is not None or time.monotonic() - started > HEALTHY_S:
            raise SystemExit("the service did not become healthy")
        time.sleep(1)
    print(f"--- healthy after {time.monotonic() - started:.0f} s", flush=True)
    client = Client("http://127.0.0.1:8000", "a secret")
    state = client.finished(client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes()))
    print(f"--- {state['status']}: {len(client.picture(state)):,} bytes", flush=True)
    service.terminate()
    assert service.wait(STOP_S) == 0


def _mount(kind: str, what: str, where: Path, options: str = "defaults") -> None:
    subprocess.run(["mount", "-t", kind, "-o", options, what, where], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.container", description=__doc__)
    parser.add_argument("--lock", default="runtime", help="the build argument LOCK: runtime, or gpu (3 GB more to fetch)")
    given = parser.parse_args()
    if INSIDE not in os.environ:
        with tempfile.TemporaryDirectory(prefix="image-") as folder:
            outside = [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                sys.executable,
                "-m",
                "tests.container",
                *sys.argv[1:],
            ]
            raise SystemExit(subprocess.run(outside, env={**os.environ, INSIDE: folder}).returncode)
    image = build(Path(os.environ[INSIDE]), {"LOCK": given.lock})
    ctypes.CDLL(None).unshare(CLONE_NEWNET)
    use(image)


if __name__ == "__main__":
    main()
