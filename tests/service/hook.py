"""A callback receiver: a real HTTP server on loopback that remembers what it was told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENDS = ("SUCCESS", "FAILURE")


@dataclass(frozen=True)
class Call:
    """One callback: its headers, by names in lower case, and its body as it came."""

    headers: Mapping[str, str]
    body: bytes


class Hook:
    """answer: the HTTP status that a state is answered with; all of them are remembered."""

    def __init__(self, url: str, answer: Callable[[dict[str, Any]], int]) -> None:
        self.url = url
        self.heard: list[dict[str, Any]] = []
        self.calls: list[Call] = []
        self._answer = answer
        self._changed = threading.Condition()

    def hear(self, call: Call) -> int:
        state = json.loads(call.body)
        with self._changed:
            self.calls.append(call)
            self.heard.append(state)
            self._changed.notify_all()
            return self._answer(state)

    def told(self, task: str) -> list[dict[str, Any]]:
        """Everything that was said of the task so far."""
        with self._changed:
            return [state for state in self.heard if state["id"] == task]

    def wait_for_end(self, task: str, timeout_s: float = 60.0, times: int = 1) -> list[dict[str, Any]]:
        """Everything that was said of the task, once it has been told of the end that many times."""

        def ended() -> bool:
            return sum(state["status"] in ENDS for state in self.told(task)) >= times

        with self._changed:
            assert self._changed.wait_for(ended, timeout_s), f"heard only {self.told(task)}"
            return self.told(task)


def always_fine(_state: dict[str, Any]) -> int:
    return 200


@contextlib.contextmanager
def listening(answer: Callable[[dict[str, Any]], int] = always_fine, body: bytes = b"") -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard = self.rfile.read(int(self.headers["Content-Length"]))
            status = hook.hear(Call({name.lower(): value for name, value in self.headers.items()}, heard))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook = Hook(f"http://127.0.0.1:{server.server_port}/hook", answer)
    with serving(server):
        yield hook


@contextlib.contextmanager
def offering(files: Mapping[str, bytes]) -> Iterator[str]:
    """A server of these files, by name; gives its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path.removeprefix("/"))
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


@contextlib.contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
