"""What a gateway does: submit, poll, fetch the picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.pictures import data_url

DEADLINE_S = 60.0


def send(method: str, url: str, **kwargs: Any) -> httpx2.Response:
    """One request on a connection of its own. There is no TLS here, and reading the certificates would take 25 ms each time."""
    return httpx2.request(method, url, **{"timeout": 60, "verify": False, **kwargs})


@dataclass(frozen=True)
class Client:
    base: str
    secret: str | None = None

    def request(self, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        headers = {"mj-api-secret": self.secret} if self.secret else {}
        return send(method, self.base + path, headers={**headers, **kwargs.pop("headers", {})}, **kwargs)

    def submit(self, source: bytes, target: bytes, **members: Any) -> str:
        """The id of an accepted task."""
        return _accepted(self._swap(source, target, members))

    def submit_patiently(self, source: bytes, target: bytes, **members: Any) -> str:
        """`submit` of one of many that begin at once: who is told that this address sends too much comes back when it was told to."""
        deadline = time.monotonic() + DEADLINE_S
        while (answer := self._swap(source, target, members)).status_code == 429:
            assert time.monotonic() < deadline, answer.text
            time.sleep(int(answer.headers["retry-after"]))
        return _accepted(answer)

    def _swap(self, source: bytes, target: bytes, members: Mapping[str, Any]) -> httpx2.Response:
        body = {"sourceBase64": data_url(source), "targetBase64": data_url(target), **members}
        return self.request("POST", "/mj/insight-face/swap", json=body)

    def fetch(self, task: str) -> dict[str, Any]:
        answer = self.request("GET", f"/mj/task/{task}/fetch")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def finished(self, task: str) -> dict[str, Any]:
        """The task once it has ended. A client of this contract has to poll."""
        deadline = time.monotonic() + DEADLINE_S
        while (state := self.fetch(task))["status"] not in ("SUCCESS", "FAILURE"):
            assert time.monotonic() < deadline, f"not finished after {DEADLINE_S} s: {state}"
            time.sleep(0.02)
        return state

    def picture(self, state: dict[str, Any]) -> bytes:
        """The result's file, fetched as anybody would: without a secret."""
        assert state["status"] == "SUCCESS", state["failReason"]
        answer = send("GET", state["imageUrl"])
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("image/")
        return answer.content

    def swap(self, source: bytes, target: bytes, **members: Any) -> bytes:
        return self.picture(self.finished(self.submit(source, target, **members)))


def _accepted(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.json()["code"] == 1, answer.text
    assert isinstance(answer.json()["result"], str)
    return str(answer.json()["result"])
