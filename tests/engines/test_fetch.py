"""engines/fetch.py and download.py, and `faceswap models fetch`: against a real server that cuts, lies, and forgets."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serve_app.engines.catalog import CONTACTS, NAMES
from serve_app.engines.download import FetchError, File
from serve_app.engines.fetch import SOURCES, Outcome, Source, fetch

FACESWAP = str(Path(sys.executable).parent / "faceswap")
SWAPPER = random.Random(1).randbytes(3_000_000)
DETECTOR, RECOGNISER = random.Random(2).randbytes(200_000), random.Random(3).randbytes(300_000)


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.onnx", data)
    return buffer.getvalue()


PACK = packed(det=DETECTOR, rec=RECOGNISER, landmarks=b"not wanted")


def file_of(name: str, data: bytes, *, size: bool = True) -> File:
    return File(name, hashlib.sha256(data).hexdigest(), len(data) if size else 0)


@dataclass
class Site:
    """What the server has and how it behaves. cuts: after how many bytes of a body the next connections are dropped."""

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    content_type: str = "application/octet-stream"
    etag: str | None = '"1"'
    length: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    base_url: str = ""


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            site.asked.append((self.path, wanted))
            data = site.files.get(self.path.removeprefix("/zoo/"))
            if data is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and site.ranges else 0
            if self.headers["If-Range"] not in (None, site.etag):
                start = 0
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if site.etag:
                self.send_header("ETag", site.etag)
            if site.length:
                self.send_header("Content-Length", str(len(data) - start))
            self.send_header("Content-Type", site.content_type)
            self.end_headers()
            self.wfile.write(data[start : start + site.cuts.pop(0)] if site.cuts else data[start:])

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site({"swapper.onnx": SWAPPER, "pack.zip": PACK})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(site)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        site.base_url = f"http://127.0.0.1:{server.server_port}/zoo"
        yield site
        server.shutdown()
        thread.join()


SWAPPER_SOURCE = Source(file_of("swapper.onnx", SWAPPER))
PACK_SOURCE = Source(file_of("pack.zip", PACK, size=False), members=(file_of("det.onnx", DETECTOR), file_of("rec.onnx", RECOGNISER)))


def get(folder: Path, site: Site, *sources: Source) -> list[Outcome]:
    return fetch(folder, accept_license=True, sources=sources or (SWAPPER_SOURCE,), base_url=site.base_url)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".fetch.lock"}


def test_everything_is_fetched_into_a_new_folder_with_progress(tmp_path: Path, site: Site) -> None:
    told: list[tuple[str, int, int]] = []
    folder = tmp_path / "new" / "models"
    outcomes = fetch(
        folder,
        accept_license=True,
        progress=lambda *step: told.append(step),
        sources=(PACK_SOURCE, SWAPPER_SOURCE),
        base_url=site.base_url + "/",
    )
    assert outcomes == [Outcome(name, "fetched") for name in ("det.onnx", "rec.onnx", "swapper.onnx")]
    assert {name: (folder / name).read_bytes() for name in names(folder)} == {
        "det.onnx": DETECTOR,
        "rec.onnx": RECOGNISER,
        "swapper.onnx": SWAPPER,
    }
    assert ("pack.zip", len(PACK), len(PACK)) in told
    assert told[-1] == ("swapper.onnx", len(SWAPPER), len(SWAPPER))


def test_nothing_is_asked_for_before_the_licence_is_accepted(tmp_path: Path, site: Site) -> None:
    with pytest.raises(FetchError, match="non-commercial research only") as caught:
        fetch(tmp_path, accept_license=False, sources=(SWAPPER_SOURCE,), base_url=site.base_url)
    assert all(contact in str(caught.value) for contact in CONTACTS.values())
    assert site.asked == []
    assert names(tmp_path) == set()


def test_a_connection_that_breaks_is_gone_on_with(tmp_path: Path, site: Site) -> None:
    site.cuts = [1_000_000, 500_000]
    get(tmp_path, site)
    assert [asked for _, asked in site.asked] == [None, "bytes=1000000-", "bytes=1500000-"]
    assert (tmp_path / "swapper.onnx").read_bytes() == SWAPPER
    assert names(tmp_path) == {"swapper.onnx"}


def test_the_next_command_goes_on_where_the_last_one_stopped(tmp_path: Path, site: Site) -> None:
    site.cuts = [1_000_000, 0]
    with pytest.raises(FetchError, match=r"1,000,000 bytes are kept\): .* run the command again"):
        get(tmp_path, site)
    assert names(tmp_path) == {"swapper.onnx.part", "swapper.onnx.part.etag"}
    get(tmp_path, site)
    assert site.asked[-1][1] == "bytes=1000000-"
    assert (tmp_path / "swapper.onnx").read_bytes() == SWAPPER
    assert names(tmp_path) == {"swapper.onnx"}


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size not known"])
def test_a_part_that_is_whole_already_needs_no_connection(tmp_path: Path, site: Site, known: bool) -> None:
    (tmp_path / "swapper.onnx.part").write_bytes(SWAPPER)
    (tmp_path / "swapper.onnx.part.etag").write_text('"1"')
    get(tmp_path, site, Source(file_of("swapper.onnx", SWAPPER, size=known)))
    assert site.asked == []
    assert names(tmp_path) == {"swapper.onnx"}


def test_a_server_without_ranges_starts_again(tmp_path: Path, site: Site) -> None:
    site.ranges = False
    (tmp_path / "swapper.onnx.part").write_bytes(SWAPPER[:1_000_000])
    get(tmp_path, site)
    assert site.asked == [("/zoo/swapper.onnx", "bytes=1000000-")]
    assert (tmp_path / "swapper.onnx").read_bytes() == SWAPPER


def test_another_version_on_the_server_is_not_glued_to_the_first_part(tmp_path: Path, site: Site) -> None:
    site.files["swapper.onnx"], site.etag, site.cuts = SWAPPER[::-1], '"0"', [1_000_000, 0]
    with pytest.raises(FetchError, match="run the command again"):
        get(tmp_path, site)
    site.files["swapper.onnx"], site.etag = SWAPPER, '"1"'
    get(tmp_path, site)
    assert len(site.asked) == 3, "the server was to tell by the tag: one connection does"
    assert (tmp_path / "swapper.onnx").read_bytes() == SWAPPER


@pytest.mark.parametrize("part", [b"x" * 1_000_000, b"x" * len(SWAPPER), b"x" * (len(SWAPPER) + 1)], ids=["short", "as long", "longer"])
@pytest.mark.parametrize("known", [True, False], ids=["size known", "size not known"])
def test_a_part_of_something_else_is_thrown_away(tmp_path: Path, site: Site, part: bytes, known: bool) -> None:
    site.etag = None
    (tmp_path / "swapper.onnx.part").write_bytes(part)
    get(tmp_path, site, Source(file_of("swapper.onnx", SWAPPER, size=known)))
    assert (tmp_path / "swapper.onnx").read_bytes() == SWAPPER
    assert names(tmp_path) == {"swapper.onnx"}


def test_a_body_of_no_stated_length_that_breaks_is_gone_on_with(tmp_path: Path, site: Site) -> None:
    site.length, site.cuts = False, [1_000_000]
    get(tmp_path, site)
    assert (tmp_path / "swapper.onnx").read_bytes() == SWAPPER


def test_a_file_with_another_hash_is_not_kept(tmp_path: Path, site: Site) -> None:
    other = SWAPPER[::-1]
    site.files["swapper.onnx"] = other
    with pytest.raises(FetchError, match=f"is not the published file: its sha256 is {hashlib.sha256(other).hexdigest()}"):
        get(tmp_path, site)
    assert len(site.asked) == 1
    assert names(tmp_path) == set()


def test_a_file_of_another_size_is_refused_before_it_is_fetched(tmp_path: Path, site: Site) -> None:
    site.files["swapper.onnx"] = b"version https://git-lfs.github.com/spec/v1"
    with pytest.raises(FetchError, match=r"has 42 bytes, the published file 3,000,000"):
        get(tmp_path, site)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_named_and_costs_nothing_that_was_there(tmp_path: Path, site: Site, content_type: str) -> None:
    site.files["swapper.onnx"] = b"\n<!DOCTYPE html><html><body>sign in</body></html>"
    site.content_type, site.ranges = content_type, False
    (tmp_path / "swapper.onnx.part").write_bytes(SWAPPER[:1_000_000])
    with pytest.raises(FetchError, match="answers with a web page"):
        get(tmp_path, site, Source(file_of("swapper.onnx", SWAPPER, size=False)))
    assert (tmp_path / "swapper.onnx.part").read_bytes() == SWAPPER[:1_000_000]
    assert names(tmp_path) == {"swapper.onnx.part"}


def test_a_disk_that_is_too_small_is_named_before_it_is_full(tmp_path: Path, site: Site) -> None:
    huge = Source(file_of("pack.zip", PACK, size=False), members=(File("det.onnx", "", 1 << 60),))
    with pytest.raises(FetchError, match=r"bytes free, and 1,152,\d+.* are needed: make room"):
        get(tmp_path, site, huge)
    assert names(tmp_path) == set()


def test_only_what_is_missing_is_fetched_and_nothing_is_overwritten(tmp_path: Path, site: Site) -> None:
    (tmp_path / "det.onnx").write_bytes(DETECTOR)
    (tmp_path / "swapper.onnx").write_bytes(b"the operator's own")
    outcomes = get(tmp_path, site, PACK_SOURCE, SWAPPER_SOURCE)
    assert outcomes == [Outcome("det.onnx", "present"), Outcome("rec.onnx", "fetched"), Outcome("swapper.onnx", "kept")]
    assert [path for path, _ in site.asked] == ["/zoo/pack.zip"]
    assert (tmp_path / "swapper.onnx").read_bytes() == b"the operator's own"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    get(tmp_path, site, PACK_SOURCE, SWAPPER_SOURCE)
    assert len(site.asked) == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_pack_that_the_operator_brought_is_used_and_left(tmp_path: Path, site: Site) -> None:
    (tmp_path / "pack.zip").write_bytes(PACK)
    get(tmp_path, site, PACK_SOURCE)
    assert site.asked == []
    assert names(tmp_path) == {"pack.zip", "det.onnx", "rec.onnx"}


@pytest.mark.parametrize(
    ("pack", "problem"),
    [(b"no zip", "has no det.onnx"), (packed(rec=RECOGNISER), "has no det.onnx"), (packed(det=b"other"), "is not the published one")],
)
def test_a_pack_with_other_members(tmp_path: Path, site: Site, pack: bytes, problem: str) -> None:
    site.files["pack.zip"] = pack
    with pytest.raises(FetchError, match=problem):
        get(tmp_path, site, Source(file_of("pack.zip", pack), members=PACK_SOURCE.members))
    assert not (tmp_path / "det.onnx").exists()


def test_two_fetches_of_one_folder(tmp_path: Path, site: Site) -> None:
    with (tmp_path / ".fetch.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match=r"another .* is at work"):
            get(tmp_path, site)
    assert site.asked == []


@pytest.mark.parametrize("base_url", ["file:///etc", "models.example", "http://", "http://[", "ftp://models.example"])
def test_a_base_url_that_is_none(tmp_path: Path, base_url: str) -> None:
    with pytest.raises(FetchError, match="is not a base URL"):
        fetch(tmp_path, accept_license=True, sources=(SWAPPER_SOURCE,), base_url=base_url)


def test_the_proxy_of_the_environment_is_asked(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.base_url.removesuffix("/zoo"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(FetchError, match="is not there"):
        fetch(tmp_path, accept_license=True, sources=(SWAPPER_SOURCE,), base_url="http://models.invalid/zoo")
    assert site.asked == [("http://models.invalid/zoo/swapper.onnx", None)]


def test_the_sources_bring_every_file_that_the_family_needs() -> None:
    assert [file.name for source in SOURCES for file in source.wanted] == list(NAMES.values())


def test_the_readme_of_the_folder_tells_what_is_fetched() -> None:
    text = (Path(__file__).resolve().parents[2] / "models" / "README.md").read_text()
    for source in SOURCES:
        assert source.file.sha256 in text
        for file in source.wanted:
            assert file.sha256 in text
            assert f"| `{file.name}` |" in text
            assert f"{file.size:,}" in text
    assert all(contact in text for contact in CONTACTS.values())


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [FACESWAP, "models", "fetch", *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_the_command_says_the_licence_and_asks_nobody(tmp_path: Path, site: Site) -> None:
    result = command("--base-url", site.base_url, "--folder", str(tmp_path))
    assert result.returncode == 1
    assert "non-commercial research only" in result.stderr
    assert "contact@insightface.ai" in result.stderr
    assert "--accept-license" in result.stderr
    assert site.asked == []


def test_the_command_names_a_file_that_is_not_there(tmp_path: Path, site: Site) -> None:
    result = command("--accept-license", "--base-url", site.base_url, "--folder", str(tmp_path))
    assert result.returncode == 1
    assert [path for path, _ in site.asked] == ["/zoo/buffalo_l.zip"]
    assert f"{site.base_url}/buffalo_l.zip is not there (404)" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_the_command_leaves_a_damaged_file_and_says_what_to_do(tmp_path: Path, site: Site) -> None:
    for name in NAMES.values():
        (tmp_path / name).write_bytes(b"<html>429</html>")
    result = command("--accept-license", "--base-url", site.base_url, "--folder", str(tmp_path))
    assert result.returncode == 1
    assert result.stdout.count("left as it is") == len(NAMES)
    assert "inswapper_128.onnx is a web page" in result.stderr
    assert "Move such a file away" in result.stderr
    assert site.asked == []
