"""One process of the tests that need several: `python -m tests.tasks.process ROLE DATABASE FOLDER REPORT NUMBER`.

DATABASE is a file or a URL; FOLDER has the pictures.
It leaves what happened as JSON in the file REPORT, or talks line by line with the test that started it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from sqlalchemy import Connection, text

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.migrate import migrate
from serve_app.tasks.query import Query
from serve_app.tasks.room import Bounds, QueueFull
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status, new_result_name
from tests.tasks.common import new, no_inputs

Report = dict[str, object]


async def submit(store: TaskStore, count: int) -> Report:
    """As an Ingress with two requests at a time would."""

    async def some(n: int) -> list[str]:
        return [(await store.submit(new(), no_inputs)).id for _ in range(n)]

    parts = await asyncio.gather(some(count // 2), some(count - count // 2))
    return {"submitted": [id for part in parts for id in part]}


async def fill(store: TaskStore, count: int) -> Report:
    """Submit, and go on when there is no room."""
    found = await asyncio.gather(*(store.submit(new(), no_inputs) for _ in range(count)), return_exceptions=True)
    refused = [one for one in found if isinstance(one, BaseException)]
    assert {type(one) for one in refused} <= {QueueFull}, refused
    return {"submitted": [one.id for one in found if not isinstance(one, BaseException)], "refused": len(refused)}


async def work(store: TaskStore, patience_s: int) -> Report:
    """As a pipeline with two tasks at a time would: claim, advance, succeed, until the file "accepted" says that no more will come."""
    claims: list[tuple[str, int, int]] = []
    longest = 0.0
    accepted = Path(sys.argv[3]) / "accepted"

    async def one() -> None:
        nonlocal longest
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            began = time.perf_counter()
            task = await store.claim("worker", 300.0)
            if task is None:
                if accepted.exists() and await store.count_unfinished() == 0:
                    return
                await asyncio.sleep(0.02)
                continue
            claims.append((task.id, task.attempt, task.fence))
            assert await store.advance(task, 10)
            assert await store.succeed(task, f"{task.id}/a.png", new_result_name(task.id, "png"), {})
            longest = max(longest, time.perf_counter() - began)

    await asyncio.gather(one(), one())
    return {"claims": claims, "longest": longest}


async def work_late(store: TaskStore, count: int) -> Report:
    """Submit tasks of which some are overdue at once, some soon and some not; finish what can be: what of it was ours to the end?"""
    made: list[str] = []

    async def finish_one() -> bool:
        task = await store.claim("worker", 300.0)
        if task and await store.advance(task, 50) and await store.succeed(task, f"{task.id}/a.png", "a.png", {}):
            made.append(task.id)
        return task is not None

    for n in range(count):
        hurried = TaskStore(store._database, store._blobs, deadline_s=(0.0, 0.03, 300.0)[n % 3])
        await hurried.submit(new(), no_inputs)
        await finish_one()
    while await finish_one():
        pass
    return {"made": made}


async def recover(store: TaskStore, count: int) -> Report:
    """End what is overdue until so many tasks have ended."""
    overdue: list[str] = []
    while (await store.query(Query(statuses=(Status.SUCCESS, Status.FAILURE), size=1))).total < count:
        overdue += await store.fail_overdue(3)
    return {"overdue": overdue}


async def hold(store: TaskStore, lease_ms: int) -> Report:
    """Claim one task, say so, and commit it when a line comes in; say what became of that."""
    task = await store.claim("holder", lease_ms / 1000)
    assert task is not None
    say(task.id)
    await asyncio.to_thread(sys.stdin.readline)
    writes = {
        "advance": await store.advance(task, 50),
        "renew": await store.renew(task, 30.0),
        "succeed": await store.succeed(task, f"{task.id}/late.png", "late.png", {}),
    }
    say(json.dumps(writes))
    return {}


async def add(database: Database, count: int) -> Report:
    """Read a number, then write it plus one; what the driver's own BEGIN loses half of."""

    def work(connection: Connection) -> None:
        lock = "for update" if connection.dialect.name == "postgresql" else ""
        value = connection.execute(text(f"select value from counter {lock}")).scalar_one()
        connection.execute(text("update counter set value = :value"), {"value": value + 1})

    for _ in range(count):
        await database.write(work)
    return {}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def place(where: str) -> str | Path:
    return where if "://" in where else Path(where)


async def main(role: str, where: str, folder: Path, report: Path, number: int) -> None:
    if role == "migrate":
        await asyncio.to_thread(sys.stdin.readline)  # so that all begin at once
        migrate(place(where))
        report.write_text("{}")
        return
    database = open_database(place(where))
    store = TaskStore(database, BlobStore(folder / "blobs"), bounds=Bounds(100) if role == "fill" else None)
    if role == "add":
        result = await add(database, number)
    else:
        result = await {"submit": submit, "fill": fill, "work": work, "hold": hold, "work_late": work_late, "recover": recover}[role](
            store, number
        )
    await database.close()
    report.write_text(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5])))
