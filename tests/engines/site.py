"""A server of model files that cuts, lies, and forgets; what it has, and fetching from it."""

from __future__ import annotations

import hashlib
import io
import random
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from serve_app.engines.download import File
from serve_app.engines.fetch import Outcome, Source, fetch

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


@contextmanager
def serving() -> Iterator[Site]:
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
