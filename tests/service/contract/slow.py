"""A service of its own that is open, slow and small, so that tasks wait and its queue is soon full; it can be started again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.service import free_port, serving
from tests.pictures import HANKS, head, jpeg
from tests.service.client import DEADLINE_S, Client
from tests.service.hook import Hook, listening

ROOT = Path(__file__).resolve().parent.parent.parent.parent
MAX_WAITING = 8
# One task at a time, each takes about a second: a batch is detected, identified, swapped.
ARGS = {
    "family": "fake",
    "fake": {"seconds": 0.25},
    "pipeline": {"in_flight": 1},
    "ingress": {"max_dispatched": 2},
    "limits": {"max_unfinished": 1 + MAX_WAITING},
}
FACE, PHOTO = HANKS.read_bytes(), jpeg(head(2))


class Slow:
    """client: knows no secret, there is none. hook: the global one, FACESWAP_NOTIFY_HOOK. folder: its data."""

    def __init__(self, folder: Path, hook: Hook) -> None:
        self.folder, self.hook = folder, hook
        config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
        config["applications"][0]["args"] |= ARGS
        self._config = folder / "serve.yaml"
        self._config.write_text(yaml.safe_dump(config))
        self._port = free_port()
        self._running = contextlib.ExitStack()
        self.client = Client(f"http://127.0.0.1:{self._port}")

    def start(self) -> None:
        environment = {"FACESWAP_SECRET": "", "FACESWAP_NOTIFY_HOOK": self.hook.url}
        service = serving("--config", str(self._config), environment=environment, data=self.folder, port=self._port)
        self.service = self._running.enter_context(service)

    def stop(self) -> None:
        self._running.close()

    def submit(self, **members: object) -> str:
        return self.client.submit(FACE, PHOTO, **members)

    def begin(self, **members: object) -> str:
        """A task that is worked on, in the only place there is; what comes after it waits."""
        task = self.submit(**members)
        deadline = time.monotonic() + DEADLINE_S
        while (state := self.client.fetch(task))["status"] == "NOT_START":
            assert time.monotonic() < deadline, state
            time.sleep(0.01)
        return task

    def cancel_all(self) -> None:
        for task in self.client.request("GET", "/mj/task/queue").json():
            self.client.request("POST", f"/mj/task/{task['id']}/cancel")

    def count(self) -> int:
        """All tasks there are."""
        return int(self.client.request("POST", "/mj/task/query").json()["totalElements"])


@contextlib.contextmanager
def slow_service(folder: Path) -> Iterator[Slow]:
    with listening() as hook:
        slow = Slow(folder, hook)
        try:
            slow.start()
            yield slow
        finally:
            slow.stop()
