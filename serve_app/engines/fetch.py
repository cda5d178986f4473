"""The InsightFace family's files, fetched from their authors' release when the operator says so.

Only a command calls this, never a request. Where the URLs are from: insightface 2.1's utils/storage.py names the release
`model-zoo` and makes every URL of it, packs as NAME.zip; its gui/core/model_downloads.py lists inswapper_128.onnx among the
same release's files. The hashes are the manifest's; that of buffalo_l.zip is the one that InsightFace's own server pins
(models/packages.py). The library itself checks none.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from serve_app.engines.download import FetchError, File, Progress, discard, download, sha256_of
from serve_app.engines.manifest import MANIFEST, NAMES

BASE_URL = "https://github.com/deepinsight/insightface/releases/download/model-zoo"


@dataclass(frozen=True, slots=True)
class Source:
    """What a server has, under base_url/file.name: a file that is wanted itself, or a zip with members that are."""

    file: File
    members: tuple[File, ...] = ()
    base_url: str = BASE_URL

    @property
    def wanted(self) -> tuple[File, ...]:
        return self.members or (self.file,)


@dataclass(frozen=True, slots=True)
class Outcome:
    """present: its sha256 is a known one. kept: it is the operator's, with another sha256, and was left alone."""

    name: str
    state: Literal["fetched", "present", "kept"]


def _sources() -> tuple[Source, ...]:
    """The usual files, those that come in a pack with it."""
    files = {each.name: File(each.name, each.sha256, each.size) for each in MANIFEST.usual.values()}
    packs = [Source(File(pack.name, pack.sha256), tuple(files.pop(name) for name in pack.files)) for pack in MANIFEST.packs]
    return (*packs, *map(Source, files.values()))


SOURCES = _sources()


def licence() -> str:
    """What has to be accepted before anything is fetched, and whom to ask for more."""
    lines = [f"  {name}: {MANIFEST.contacts[role]}" for role, name in NAMES.items()]
    return "\n".join([f"InsightFace's model files are for {MANIFEST.licence}. For a commercial licence ask:", *lines])


def fetch(
    folder: Path,
    *,
    accept_license: bool,
    progress: Progress | None = None,
    sources: Sequence[Source] = SOURCES,
    base_url: str | None = None,
) -> list[Outcome]:
    """Put every file of `sources` that is not in `folder` there; whatever lies there already stays as it is.

    base_url: a mirror that has the same files under the same names. Proxies are those of the environment. A fetch that was
    stopped goes on from NAME.part. A zip that the operator put there is used instead of the network, and left there.
    Raises FetchError; without accept_license before anything is read, written or asked for.
    """
    if not accept_license:
        raise FetchError(licence())
    if base_url is not None:
        _refuse_odd(base_url)
    wanted = [file for source in sources for file in source.wanted]
    try:
        outcomes = [_judge(folder, file) for file in wanted if os.path.lexists(folder / file.name)]
        if len(outcomes) < len(wanted):
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder):
                for source in sources:
                    outcomes += _obtain(source, folder, base_url or source.base_url, progress or (lambda name, done, total: None))
    except OSError as error:  # the network's are told where they happen
        raise FetchError(f"{folder} cannot be used: {error}") from None
    return sorted(outcomes, key=lambda outcome: [file.name for file in wanted].index(outcome.name))


def _refuse_odd(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        fits = False
    if not fits:
        raise FetchError(f"{base_url} is not a base URL: it begins with http:// or https:// and a host")


def _judge(folder: Path, file: File) -> Outcome:
    known = {file.sha256} | {each.sha256 for each in MANIFEST.files if each.name == file.name and each.fits}
    path = folder / file.name
    return Outcome(file.name, "present" if path.is_file() and sha256_of(path) in known else "kept")


def _obtain(source: Source, folder: Path, base_url: str, progress: Progress) -> list[Outcome]:
    missing = [file for file in source.wanted if not os.path.lexists(folder / file.name)]
    if not missing:
        return []
    part = folder / f"{source.file.name}.part"
    url = f"{base_url.rstrip('/')}/{source.file.name}"
    if not source.members:
        download(source.file, url, part, 0, progress)
        _place(part, folder / source.file.name)
        return [Outcome(source.file.name, "fetched")]
    given = folder / source.file.name
    archive = given if given.is_file() and sha256_of(given) == source.file.sha256 else part
    if archive is part:
        download(source.file, url, part, sum(file.size for file in missing), progress)
    for file in missing:
        _unpack(archive, file, folder)
    discard(part)
    return [Outcome(file.name, "fetched") for file in missing]


def _unpack(archive: Path, file: File, folder: Path) -> None:
    part = folder / f"{file.name}.part"
    try:
        with zipfile.ZipFile(archive) as pack, part.open("wb") as out:
            member = next(name for name in pack.namelist() if name.rpartition("/")[2] == file.name)
            with pack.open(member) as data:
                shutil.copyfileobj(data, out, 1 << 20)
    except (zipfile.BadZipFile, StopIteration):
        part.unlink(missing_ok=True)
        raise FetchError(f"{archive.name} has no {file.name} in it") from None
    digest = sha256_of(part)
    if digest != file.sha256:
        part.unlink()
        raise FetchError(f"{file.name} in {archive.name} is not the published one: its sha256 is {digest}, not {file.sha256}")
    _place(part, folder / file.name)


def _place(part: Path, path: Path) -> None:
    """A reader sees the whole file or none."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    if os.path.lexists(path):
        raise FetchError(f"{path} has appeared meanwhile and was left alone; what was fetched is {part}")
    part.rename(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".fetch.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchError(f"another `faceswap models fetch` is at work in {folder}: wait for it") from None
        yield
