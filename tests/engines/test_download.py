"""engines/download.py: a file comes whole, with the right hash, or not at all, whatever the server does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from serve_app.engines.download import FetchError, File
from serve_app.engines.fetch import Source, fetch
from tests.engines.site import PACK, SWAPPER, SWAPPER_SOURCE, Site, file_of, get, names


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


def test_the_proxy_of_the_environment_is_asked(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.base_url.removesuffix("/zoo"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(FetchError, match="is not there"):
        fetch(tmp_path, accept_license=True, sources=(SWAPPER_SOURCE,), base_url="http://models.invalid/zoo")
    assert site.asked == [("http://models.invalid/zoo/swapper.onnx", None)]
