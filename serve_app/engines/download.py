"""A large file over HTTP: gone on with where it stopped, and taken only with the sha256 that it should have."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]  # file, bytes done, bytes in all (0: not known)

SECONDS = 30.0  # without a byte, until a connection counts as lost
CHUNK = 1 << 20
CONNECTIONS = 20  # for one file, as long as each brings something


class FetchError(RuntimeError):
    """For people: one line that says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class File:
    """size: bytes, 0 where not known."""

    name: str
    sha256: str
    size: int = 0


def download(file: File, url: str, part: Path, more: int, progress: Progress) -> None:
    """Make `part` the file, going on from what it holds; NAME.part.etag beside it tells which version that is.

    more: bytes that must be free on the disk afterwards. Proxies are those of the environment. Raises FetchError, which leaves
    `part` where it is worth going on from, and OSError when it cannot be written.
    """
    resumed = _size(part) > 0
    doubted = False
    if resumed and sha256_of(part) == file.sha256:  # stopped between the last byte and the new name
        _validator(part).unlink(missing_ok=True)
        return
    for _ in range(CONNECTIONS):
        before = _size(part)
        cut = _transfer(file, url, part, more, progress)
        if cut and _size(part) <= before:
            break
        if cut:
            resumed = True
            continue
        digest = sha256_of(part)
        if digest == file.sha256:
            _validator(part).unlink(missing_ok=True)
            return
        discard(part)
        if not resumed or doubted:
            raise FetchError(f"{url} is not the published file: its sha256 is {digest}, not {file.sha256}. Try another --base-url")
        doubted, resumed = True, False  # its parts may be of different files: once more, in one piece
    raise FetchError(f"{url} did not come ({cut}; {_size(part):,} bytes are kept): check network and proxy, then run the command again")


def _transfer(file: File, url: str, part: Path, more: int, progress: Progress) -> str:
    """One connection's worth of the file, added to `part`: "" when that is all of it, else why not."""
    have = _size(part)
    if file.size and have >= file.size:
        have = discard(part)
    try:
        response = _open(url, _range(part, have))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            discard(part)
            return _transfer(file, url, part, more, progress)
        raise FetchError(_refusal(url, error)) from None
    except (OSError, http.client.HTTPException) as error:
        return f"no connection: {getattr(error, 'reason', error)}"
    with response:
        partial = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if partial and not str(response.headers["Content-Range"]).startswith(f"bytes {have}-"):
            raise FetchError(f"{url} answers with another part than was asked for: delete {part} and try again, or try another --base-url")
        have = have if partial else 0
        length = response.headers["Content-Length"] or ""
        total = have + int(length) if length.isdigit() else file.size
        _refuse_wrong(file, url, response.headers, total)
        _refuse_full(part, total - have - (0 if partial else _size(part)) + more)
        return _receive(response, file, url, part, have, total, progress)


def _receive(response: Any, file: File, url: str, part: Path, have: int, total: int, progress: Progress) -> str:
    done, first, cut = have, not have, ""
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            cut = f"{type(error).__name__}: {error}"
            break
        if not chunk:
            break
        if first:
            if re.match(rb"\s*<(!doctype|html|\?xml)", chunk, re.IGNORECASE):
                raise FetchError(_web_page(url))
            part.write_bytes(b"")  # only now: a portal's page must not cost what was there
            _remember(part, response.headers)
            first = False
        with part.open("ab") as out:
            out.write(chunk)
        done += len(chunk)
        progress(file.name, done, total)
    return cut or (f"cut off at {done:,} of {total:,} bytes" if done < total or not done else "")


def _open(url: str, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "faceswap-serve", **headers})
    return urllib.request.build_opener().open(request, timeout=SECONDS)


def _range(part: Path, have: int) -> dict[str, str]:
    if not have:
        return {}
    validator = _validator(part)
    return {"Range": f"bytes={have}-"} | ({"If-Range": validator.read_text()} if validator.exists() else {})


def _remember(part: Path, headers: Any) -> None:
    """Which version the part is of: the server then sends the rest of that one, or another from its start."""
    tag = headers["ETag"] or ""
    value = tag if tag.startswith('"') else headers["Last-Modified"] or ""  # a weak tag cannot be used for this
    if value:
        _validator(part).write_text(value)
    else:
        _validator(part).unlink(missing_ok=True)


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _refusal(url: str, error: urllib.error.HTTPError) -> str:
    if error.code in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE):
        return f"{url} is not there ({error.code}): name a mirror with --base-url, or get the file elsewhere and put it into the folder"
    return f"{url} answers {error.code} {error.reason}: try again later, or name a mirror with --base-url"


def _web_page(url: str) -> str:
    return f"{url} answers with a web page, not with the file: open it in a browser to see why, or name a mirror with --base-url"


def _refuse_wrong(file: File, url: str, headers: Any, total: int) -> None:
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise FetchError(_web_page(url))
    if file.size and total != file.size:
        raise FetchError(f"{url} has {total:,} bytes, the published file {file.size:,}: it is another one. Try another --base-url")


def _refuse_full(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise FetchError(f"{part.parent} has {free:,} bytes free, and {needed:,} are needed: make room, or name another --folder")


def discard(part: Path) -> int:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)
    return 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
