"""An OpenTelemetry collector: a real HTTP server on loopback that takes OTLP and remembers the spans."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.service.hook import serving


@dataclass(frozen=True)
class Span:
    """Ids in hex. parent: "" for none. start, end: nanoseconds since the epoch."""

    name: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, Any]
    failed: bool
    start: int
    end: int


class Collector:
    def __init__(self, base: str) -> None:
        self.base = base
        self._spans: list[Span] = []
        self._changed = threading.Condition()

    def hear(self, request: ExportTraceServiceRequest) -> None:
        found = [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
        with self._changed:
            self._spans += map(_span, found)
            self._changed.notify_all()

    def trace(self, id: str) -> list[Span]:
        with self._changed:
            return [span for span in self._spans if span.trace == id]

    def wait_for(self, id: str, names: Iterable[str], timeout_s: float = 30.0) -> list[Span]:
        """The spans of a trace once so many of each of these names have come."""
        wanted = Counter(names)

        def there() -> bool:
            return wanted <= Counter(span.name for span in self.trace(id))

        with self._changed:
            assert self._changed.wait_for(there, timeout_s), sorted(span.name for span in self.trace(id))
            return self.trace(id)

    def all(self) -> list[Span]:
        with self._changed:
            return list(self._spans)


def _span(span: Any) -> Span:
    values = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
    trace, id, parent = (each.hex() for each in (span.trace_id, span.span_id, span.parent_span_id))
    links = tuple(link.span_id.hex() for link in span.links)
    return Span(span.name, trace, id, parent, links, values, span.status.code == 2, span.start_time_unix_nano, span.end_time_unix_nano)


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            collector.hear(ExportTraceServiceRequest.FromString(data))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    with serving(server):
        yield collector
