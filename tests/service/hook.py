"""A callback receiver: a real HTTP server on loopback that remembers what it was told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook:
    def __init__(self, url: str) -> None:
        self.url = url
        self.heard: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def hear(self, body: bytes) -> None:
        with self._changed:
            self.heard.append(json.loads(body))
            self._changed.notify_all()

    def wait_for_end(self, task: str, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """Everything that was said of the task, once it has been told of the end."""

        def told() -> list[dict[str, Any]]:
            return [state for state in self.heard if state["id"] == task]

        with self._changed:
            assert self._changed.wait_for(lambda: any(s["status"] in ("SUCCESS", "FAILURE") for s in told()), timeout_s), (
                f"heard only {told()}"
            )
            return told()


@contextlib.contextmanager
def listening() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            hook.hear(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook = Hook(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
