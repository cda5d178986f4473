"""One database under several real processes: two that accept, four that work, some that are killed or stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database
from serve_app.tasks.schema import callbacks, tasks
from serve_app.tasks.store import TaskStore
from tests.tasks.common import claimed, current, new, no_inputs
from tests.tasks.processes import Processes, line

_log = logging.getLogger(__name__)
LIMIT_S = 180.0  # against hanging; speed is the benchmark's business


@pytest.fixture
def processes(where: str | Path, tmp_path: Path) -> Iterator[Processes]:
    started = Processes(where, tmp_path)
    yield started
    started.end()


@pytest.fixture
def real_store(database: Database, blobs: BlobStore) -> TaskStore:
    return TaskStore(database, blobs)


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


async def expired(store: TaskStore) -> int:
    """As recovery does: look until a lease has run out."""
    async with asyncio.timeout(10):
        while not (taken := await store.take_expired(10)):
            await asyncio.sleep(0.02)
    return taken


async def test_tasks_from_2_accepting_to_4_working_processes(
    processes: Processes, database: Database, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """`pytest --tasks 5000` is the long form."""
    count = request.config.getoption("--tasks") or 1_000
    began = time.perf_counter()
    accepting = [processes.start("submit", count // 2) for _ in range(2)]
    working = [processes.start("work", 2 * int(LIMIT_S)) for _ in range(4)]
    submitted = [str(id) for process in accepting for id in (await processes.report(process))["submitted"]]
    (tmp_path / "accepted").touch()
    reports = [await processes.report(process) for process in working]
    took_s = time.perf_counter() - began
    _log.info("%d tasks, %d commits in %.1f s; longest task %s s", count, 4 * count, took_s, max(report["longest"] for report in reports))

    claims = [tuple(claim) for report in reports for claim in report["claims"]]
    assert len(submitted) == count
    assert sorted(claims) == sorted((id, 1, 1) for id in submitted), "each task was claimed, once, by one worker"
    assert all(len(report["claims"]) > count // 40 for report in reports), "all workers had work"

    ends = select(tasks.c.id, tasks.c.status, tasks.c.progress).order_by(tasks.c.id)
    rows = await database.read(lambda connection: connection.execute(ends).all())
    assert [tuple(row) for row in rows] == [(id, "SUCCESS", 100) for id in sorted(submitted)]
    owed = select(callbacks.c.task_id, callbacks.c.task).order_by(callbacks.c.task_id, callbacks.c.created, callbacks.c.rank)
    told = await database.read(lambda connection: connection.execute(owed).all())
    states = [(row.task_id, row.task["status"]) for row in told]
    assert states == [(id, state) for id in sorted(submitted) for state in ("SUBMITTED", "IN_PROGRESS", "SUCCESS")]
    assert took_s < LIMIT_S


async def test_no_update_is_lost_between_processes(processes: Processes, database: Database) -> None:
    await database.write(lambda connection: connection.execute(text("create table counter as select 0 as value")).close())
    adding = [processes.start("add", 300) for _ in range(3)]
    for process in adding:
        await processes.report(process)
    assert await database.read(lambda connection: connection.execute(text("select value from counter")).scalar()) == 900


async def test_a_killed_worker_loses_its_task_to_another(processes: Processes, real_store: TaskStore) -> None:
    id = (await real_store.submit(new(), no_inputs)).id
    worker = processes.start("hold", 300)
    assert await line(worker) == id
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert await real_store.claim("other", 30) is None, "not before its lease has run out"
    assert await expired(real_store) == 1
    task = await claimed(real_store)
    assert (task.id, task.losses) == (id, 1)
    assert await real_store.begin(task)
    assert await real_store.succeed(task, f"{id}/other.png", "other.png", {})


@pytest.mark.parametrize("other_is_done", [True, False])
async def test_a_worker_stopped_past_its_lease_cannot_commit(processes: Processes, real_store: TaskStore, other_is_done: bool) -> None:
    id = (await real_store.submit(new(), no_inputs)).id
    worker = processes.start("hold", 300)
    assert await line(worker) == id
    worker.send_signal(signal.SIGSTOP)
    _, how = os.waitpid(worker.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(how)
    go_on(worker)
    assert await expired(real_store) == 1
    other = await claimed(real_store)
    if other_is_done:
        assert await real_store.succeed(other, f"{id}/other.png", "other.png", {})
    worker.send_signal(signal.SIGCONT)
    assert json.loads(await line(worker)) == {"advance": False, "renew": False, "succeed": False}
    await processes.report(worker)
    if not other_is_done:
        assert await real_store.succeed(other, f"{id}/other.png", "other.png", {})
    ended = await current(real_store, id)
    assert (ended.result, ended.fence) == (f"{id}/other.png", 2)
