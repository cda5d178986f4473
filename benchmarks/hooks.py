"""Dead hooks and those beside them: how soon a live hook hears although 1,000 dead ones come first, and what swapping loses to them."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy import Connection

from benchmarks.deadhooks import KINDS, dead, names_that_nobody_answers_for
from serve_app.api.schema import task_json
from serve_app.egress.address import AddressPolicy
from serve_app.egress.client import Egress
from serve_app.tasks import outbox
from serve_app.tasks.database import now_ms, open_database
from serve_app.tasks.delivery import Courier
from serve_app.tasks.lanes import affordable
from serve_app.tasks.migrate import migrate
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.task import Status, Task

DEAD = 1_000
LATEST_S = 2.0
_PLACES = 2048
_BEGAN = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """How the dead hooks of one kind are spread: over so many hosts, and over the tasks of so many keys."""

    kind: str
    hosts: int
    keys: int


def crowds(count: int) -> list[Crowd]:
    """The live hook is another host's in all of them, and its task is of a key that has dead ones as well, where there is one key."""
    return [Crowd(kind, hosts, keys) for kind in KINDS for hosts in (1, count) for keys in (1, count)]


async def until_heard(crowd: Crowd, count: int, limit_s: float = 30.0) -> float:
    """Seconds from when the courier starts, all callbacks being due and never tried, to when the live hook, owed last, has heard."""
    with tempfile.TemporaryDirectory(prefix="faceswap-hooks-") as folder, dead(crowd.kind) as url:
        migrate(file := Path(folder) / "tasks.db")
        database = open_database(file)
        egress = Egress(AddressPolicy((ip_network("127.0.0.0/8"),)), connections=2 * _PLACES, lookups=2 * _PLACES)
        courier = Courier(Outbox(database), lambda task: task_json(task, None), egress, places=affordable(_PLACES))
        async with _live() as (live, heard):
            told = [_task(n, url(n % crowd.hosts), f"key{n % crowd.keys}") for n in range(count)]
            told.append(_task(count, live, f"key{count % crowd.keys}" if crowd.keys == 1 else "another"))

            def owe(connection: Connection) -> None:
                for task in told:
                    for status in (Status.SUBMITTED, Status.IN_PROGRESS):
                        outbox.record(connection, [_in(task, status)], now_ms())

            await database.write(owe)
            await egress.start()
            began = time.perf_counter()
            await courier.start()
            try:
                async with asyncio.timeout(limit_s):
                    await heard.wait()
                return time.perf_counter() - began
            except TimeoutError:
                return limit_s
            finally:
                await courier.stop()
                await egress.close()
                await database.close()


@contextlib.asynccontextmanager
async def _live() -> AsyncIterator[tuple[str, asyncio.Event]]:
    heard = asyncio.Event()

    async def hear(_: web.Request) -> web.Response:
        heard.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", heard
    finally:
        await runner.cleanup()


def _task(n: int, hook: str, owner: str) -> Task:
    return Task(f"{_BEGAN + n:013d}000", Status.SUBMITTED, 0, None, None, hook, None, "http://b", _BEGAN, owner=owner)


def _in(task: Task, status: Status) -> Task:
    from dataclasses import replace

    return replace(task, status=status)


def live(count: int = DEAD, chosen: list[Crowd] | None = None) -> dict[str, Any]:
    rows = []
    with names_that_nobody_answers_for():
        for crowd in chosen or crowds(count):
            rows.append({"kind": crowd.kind, "hosts": crowd.hosts, "keys": crowd.keys, "s": asyncio.run(until_heard(crowd, count))})
    return {"rows": rows}


if __name__ == "__main__":
    for row in live()["rows"]:
        print(row)
