"""The store against a model of it: any order of calls, by workers that hold their leases and by workers that lost them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, invariant, multiple, rule
from sqlalchemy import select

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import create_schema, open_database
from serve_app.tasks.schema import callbacks
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status, Task, priority
from tests.tasks.common import Clock, new, no_inputs

T = TypeVar("T")
MAX_ATTEMPTS = 3


@dataclass
class Expected:
    """What the store must say about one task."""

    mode: str | None
    submit_time: int
    status: Status = Status.NOT_START
    progress: int = 0
    attempt: int = 0
    holder: Task | None = None
    lease_until: int | None = None
    told: tuple[Status, ...] = ()

    def move(self, status: Status) -> None:
        if status is not self.status:
            assert status.rank > self.status.rank
            self.told = (*self.told, status)
        self.status = status
        if status.terminal:
            self.drop()

    def drop(self) -> None:
        self.holder = self.lease_until = None


class StoreMachine(RuleBasedStateMachine):
    claims: Bundle[Task] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        file = Path(self.folder.name) / "tasks.db"
        create_schema(file)
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.database = open_database(file)
        self.store = TaskStore(self.database, BlobStore(file.parent), clock=self.clock, max_attempts=MAX_ATTEMPTS)
        self.tasks: dict[str, Expected] = {}

    def teardown(self) -> None:
        self.run(self.database.close())
        self.runner.close()
        self.folder.cleanup()

    def run(self, call: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await call

        return self.runner.run(awaited())

    def waiting(self) -> list[str]:
        best = sorted(self.tasks, key=lambda id: (-priority(self.tasks[id].mode), self.tasks[id].submit_time, id))
        return [id for id in best if not self.tasks[id].status.terminal and self.tasks[id].lease_until is None]

    def held(self, task: Task) -> bool:
        return self.tasks[task.id].holder is task

    @rule(mode=st.sampled_from(["fast", None, "relax"]))
    def submit(self, mode: str | None) -> None:
        task = self.run(self.store.submit(new(mode), no_inputs))
        assert task.id not in self.tasks
        self.tasks[task.id] = Expected(mode, self.clock.now)

    @rule(target=claims, lease_s=st.integers(1, 5))
    def claim(self, lease_s: int) -> MultipleResults[Task] | Task:
        best = self.waiting()
        task = self.run(self.store.claim("worker", lease_s))
        if task is None:
            assert not best
            return multiple()
        assert task.id == best[0]
        expected = self.tasks[task.id]
        expected.attempt += 1
        expected.holder, expected.lease_until = task, self.clock.now + lease_s * 1000
        expected.move(max(expected.status, Status.SUBMITTED, key=lambda status: status.rank))
        return task

    @rule(task=claims, progress=st.integers(0, 100))
    def advance(self, task: Task, progress: int) -> None:
        held = self.held(task)
        assert self.run(self.store.advance(task, progress)) is held
        if held:
            expected = self.tasks[task.id]
            expected.move(Status.IN_PROGRESS)
            expected.progress = max(expected.progress, min(progress, 99))

    @rule(task=claims, lease_s=st.integers(1, 5))
    def renew(self, task: Task, lease_s: int) -> None:
        held = self.held(task)
        assert self.run(self.store.renew(task, lease_s)) is held
        if held:
            self.tasks[task.id].lease_until = self.clock.now + lease_s * 1000

    @rule(task=claims)
    def succeed(self, task: Task) -> None:
        held = self.held(task)
        assert self.run(self.store.succeed(task, f"{task.id}/{task.fence}.png", "name.png", {"fence": task.fence})) is held
        if held:
            self.tasks[task.id].progress = 100
            self.tasks[task.id].move(Status.SUCCESS)

    @rule(task=claims)
    def fail(self, task: Task) -> None:
        held = self.held(task)
        assert self.run(self.store.fail(task, "no face", {})) is held
        if held:
            self.tasks[task.id].move(Status.FAILURE)

    @rule(task=claims)
    def release(self, task: Task) -> None:
        held = self.held(task)
        assert self.run(self.store.release(task)) is held
        if held:
            self.tasks[task.id].attempt -= 1
            self.tasks[task.id].drop()

    @rule(seconds=st.integers(1, 4))
    def pass_time(self, seconds: int) -> None:
        self.clock.tick(seconds)

    @rule()
    def take_expired(self) -> None:
        lost = [task for task in self.tasks.values() if task.lease_until is not None and task.lease_until <= self.clock.now]
        for expected in lost:
            if expected.attempt >= MAX_ATTEMPTS:
                expected.move(Status.FAILURE)
            expected.drop()
        assert self.run(self.store.take_expired(100)) == sum(not expected.status.terminal for expected in lost)

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        found = self.run(self.store.get_many(list(self.tasks)))
        assert [task.id for task in found] == list(self.tasks)
        for task in found:
            expected = self.tasks[task.id]
            assert (task.status, task.progress, task.attempt, task.lease_until) == (
                expected.status,
                expected.progress,
                expected.attempt,
                expected.lease_until,
            )
            assert (task.finish_time is not None) is task.status.terminal
            assert bool(task.fail_reason) is (task.status is Status.FAILURE)
            assert bool(task.result) is (task.status is Status.SUCCESS)
        assert self.run(self.store.count_waiting()) == len(self.waiting())
        assert self.run(self.store.count_unfinished()) == sum(not task.status.terminal for task in found)

    @invariant()
    def every_change_is_owed_to_the_hook(self) -> None:
        query = select(callbacks.c.task_id, callbacks.c.task).order_by(callbacks.c.task_id, callbacks.c.rank)
        rows = self.run(self.database.read(lambda connection: connection.execute(query).all()))
        for id, expected in self.tasks.items():
            assert tuple(row.task["status"] for row in rows if row.task_id == id) == expected.told


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=30, stateful_step_count=40, derandomize=True, deadline=None, database=None)
