"""Holders of keys of the running service, each with a finished task and one that is being worked on for as long as a test likes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import now_ms, open_database
from serve_app.tasks.keys import Key, KeyRing
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask
from tests.pictures import HANKS, data_url, head, jpeg
from tests.service.client import Client
from tests.service.contract.shapes import accepted

T = TypeVar("T")

FACE, PHOTO = HANKS.read_bytes(), jpeg(head(2))


@dataclass(frozen=True)
class Person:
    """done: a task that succeeded. held: one that the test works on, so it never ends by itself. word: stands in the state of both."""

    key: Key
    client: Client
    word: str
    done: dict[str, Any]
    held: dict[str, Any]

    @property
    def submit_key(self) -> str:
        """The Idempotency-Key of `done`."""
        return f"submit-{self.key.id}"

    @property
    def marks(self) -> list[str]:
        """What no answer to somebody else may hold."""
        return [self.done["id"], self.held["id"], self.word, self.key.id, str(self.client.secret), picture_name(self.done)]

    def tasks_now(self) -> list[dict[str, Any]]:
        return [self.client.fetch(task["id"]) for task in (self.done, self.held)]


def picture_name(task: dict[str, Any]) -> str:
    return str(task["imageUrl"]).rpartition("/")[2]


def on_keys(data: Path, work: Callable[[KeyRing], Awaitable[T]], *, clock: Callable[[], int] = now_ms) -> T:
    """Do something with the keys in a service's data folder, as `faceswap key` does from another process."""

    async def run() -> T:
        database = open_database(data / "tasks.db")
        try:
            return await work(KeyRing(database, clock))
        finally:
            await database.close()

    return asyncio.run(run())


def with_tasks(key: Key, client: Client, data: Path) -> Person:
    word = f"private-{key.id}"
    body = {"sourceBase64": data_url(FACE), "targetBase64": data_url(PHOTO), "state": f"{word} done"}
    answer = client.request("POST", "/mj/insight-face/swap", json=body, headers={"Idempotency-Key": f"submit-{key.id}"})
    done = client.finished(accepted(answer))
    held = client.fetch(hold(data, client.base, key.id, f"{word} held"))
    return Person(key, client, word, done, held)


def hold(data: Path, base: str, owner: str, state: str) -> str:
    """A task of this owner that nobody but us works on."""
    return asyncio.run(_hold(data, NewTask("turbo", state, None, None, base, owner)))


async def _hold(data: Path, new: NewTask) -> str:
    database, blobs = open_database(data / "tasks.db"), BlobStore(data / "blobs")
    store = TaskStore(database, blobs)
    try:
        while True:  # a pipeline that just looked may be quicker
            task = await store.submit(new, partial(blobs.put_inputs, source=FACE, target=PHOTO))
            held = await store.claim("the test", 3600)
            if held and held.id == task.id:
                return held.id
            if held:
                await store.release(held)
            await store.delete(task.id)
    finally:
        await database.close()
