"""Clients at a constant rate: each submits, polls its task to the end and fetches its picture, and notes what it saw."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import cv2
import numpy as np

from tests.pictures import ASTRONAUT, HANKS, data_url, head, jpeg, read

POLL_S = 0.5
WAIT_S = 10
PATIENCE_S = 30.0  # of clients that repeat a submit
TERMINAL = ("SUCCESS", "FAILURE")


@dataclass(frozen=True, slots=True)
class Trouble:
    """An answer that no client wants: `what` it was, to which request, and when, by `time.monotonic()`.

    kind: "cut" for a broken connection, "refused" for 503 with code 9 and for a full queue (23), else "wrong".
    """

    at: float
    kind: str
    what: str
    asked: str


@dataclass(slots=True)
class Seen:
    """A task that a client was told of, and its end as it saw it first."""

    number: int
    task: str
    end: dict[str, Any] | None = None
    picture: bytes | None = None


@dataclass(slots=True)
class Load:
    """rate: submits a second. members: more of each submit's body, a notifyHook say. headers: of each request. bodies: to choose among.

    Every other client sends an Idempotency-Key and repeats its submit until it is accepted; the others give up. Every third asks to wait
    for the end, so that requests are always under way.
    """

    base: str
    rate: float
    chance: random.Random
    members: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, str]] = field(default_factory=lambda: _bodies())
    submits: int = 0
    given_up: int = 0
    tasks: list[Seen] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    accepted: list[tuple[float, float]] = field(default_factory=list)  # begin and end of submits that were accepted
    wrong: list[str] = field(default_factory=list)

    async def run(self, stop: asyncio.Event, drain_s: float) -> None:
        """Until `stop` is set, and then until every task has ended or `drain_s` seconds have passed."""
        connector = aiohttp.TCPConnector(force_close=True)  # so that the client library repeats nothing by itself
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(self.base, connector=connector, timeout=timeout, headers=self.headers) as session:
            clients = set()
            while not stop.is_set():
                body = {**self.chance.choice(self.bodies), "state": str(self.submits), **self.members}
                clients.add(asyncio.create_task(self._client(session, self.submits, body)))
                self.submits += 1
                await _passed(stop, self.chance.uniform(0.5, 1.5) / self.rate)
            done, late = await asyncio.wait(clients, timeout=drain_s)
            for client in late:
                client.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for client in done:
                client.result()
            for seen in self.tasks:
                await self._look_again(session, seen)

    async def _client(self, session: aiohttp.ClientSession, number: int, body: dict[str, Any]) -> None:
        headers = {"Prefer": f"wait={WAIT_S}"} if number % 3 == 0 else {}
        if number % 2:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        task = await self._submit(session, body, headers)
        if task is None:
            self.given_up += 1
            return
        seen = Seen(number, task)
        self.tasks.append(seen)
        while (state := await self._fetch(session, task)) is None or state["status"] not in TERMINAL:
            await asyncio.sleep(POLL_S)
        seen.end = state
        if state["status"] == "SUCCESS":
            while (picture := await self._picture(session, state["imageUrl"])) is None:
                await asyncio.sleep(POLL_S)
            seen.picture = picture

    async def _submit(self, session: aiohttp.ClientSession, body: dict[str, Any], headers: dict[str, str]) -> str | None:
        until = time.monotonic() + PATIENCE_S if "Idempotency-Key" in headers else 0.0
        while True:
            began = time.monotonic()
            answer = await self._asked(lambda: session.post("/mj/insight-face/swap", json=body, headers=headers), "submit")
            if answer is not None and answer[0] == 200:
                said = json.loads(answer[1])
                if said["code"] == 1:
                    self.accepted.append((began, time.monotonic()))
                    return str(said["result"])
                kind = "refused" if said["code"] == 23 else "wrong"
                self.troubles.append(Trouble(time.monotonic(), kind, f"code {said['code']} {said['description']}", "submit"))
            if time.monotonic() > until:
                return None
            await asyncio.sleep(POLL_S)

    async def _fetch(self, session: aiohttp.ClientSession, task: str) -> dict[str, Any] | None:
        answer = await self._asked(lambda: session.get(f"/mj/task/{task}/fetch"), "fetch")
        return json.loads(answer[1]) if answer and answer[0] == 200 else None

    async def _picture(self, session: aiohttp.ClientSession, url: str) -> bytes | None:
        answer = await self._asked(lambda: session.get(url), "picture")
        return answer[1] if answer and answer[0] == 200 else None

    async def _look_again(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        """What has ended stays as it was."""
        if seen.end is None:
            return
        if (now := await self._fetch(session, seen.task)) != seen.end:
            self.wrong.append(f"task {seen.task} ended as {seen.end} and is now {now}")
        if seen.picture is not None and cv2.imdecode(np.frombuffer(seen.picture, np.uint8), cv2.IMREAD_COLOR) is None:
            self.wrong.append(f"the picture of task {seen.task} does not open")

    async def _asked(self, ask: Callable[[], Awaitable[Any]], asked: str) -> tuple[int, bytes] | None:
        """Status and body; None where the connection broke."""
        try:
            async with ask() as answer:  # type: ignore[attr-defined]
                status, said = int(answer.status), await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.troubles.append(Trouble(time.monotonic(), "cut", type(error).__name__, asked))
            return None
        if status != 200:
            kind = "refused" if status == 503 and _code(said) == 9 else "wrong"
            self.troubles.append(Trouble(time.monotonic(), kind, f"{status} {said[:60].decode('utf-8', 'replace')}", asked))
        return status, said


def _bodies() -> list[dict[str, str]]:
    """Real faces, small: what is tried here is not the swap."""
    sources = [data_url(jpeg(read(path)[::4, ::4])) for path in (ASTRONAUT, HANKS)]
    targets = [data_url(jpeg(head(number))) for number in range(6)]
    return [{"sourceBase64": source, "targetBase64": target} for source in sources for target in targets]


def _code(said: bytes) -> int | None:
    try:
        return int(json.loads(said)["code"])
    except (ValueError, KeyError, TypeError):
        return None


async def _passed(stop: asyncio.Event, seconds: float) -> None:
    """The time, or the stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
