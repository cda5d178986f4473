"""The store against a model of it: any order of calls, by workers that hold their leases and by workers that lost them,
by owners that submit, repeat, cancel and delete their own and try to do so with others'.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test
from sqlalchemy import insert, select

from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import open_database
from serve_app.tasks.query import Query
from serve_app.tasks.quota import Quota, QuotaExceeded, day_of
from serve_app.tasks.reasons import CANCELLED, OVERDUE
from serve_app.tasks.repeats import IdempotencyMismatch
from serve_app.tasks.room import Bounds, QueueFull
from serve_app.tasks.schema import callbacks, keys, usage
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import INTERACTIVE, RELAX, Status, Task, priority
from serve_app.tasks.turns import RELAX_EVERY
from tests.tasks.common import Clock, new
from tests.tasks.databases import Databases

T = TypeVar("T")
MAX_ATTEMPTS = 3
DEADLINE_S = 7
BOUNDS = Bounds(max_unfinished=6, key_share=0.5)
OF_KEY = 3
OWNERS = ("", "a", "b")
QUOTAS = {"": None, "a": Quota(daily=12, concurrent=2), "b": Quota(daily=12)}
WEIGHTS = {"b": 3}
HALF_A_DAY_S = 12 * 3600


@dataclass
class Expected:
    """What the store must say about one task."""

    mode: str | None
    submit_time: int
    owner: str = ""
    repeat: tuple[str | None, str | None] = (None, None)
    status: Status = Status.NOT_START
    progress: int = 0
    attempt: int = 0
    losses: int = 0
    holder: Task | None = None
    lease_until: int | None = None
    told: tuple[Status, ...] = ()
    reason: str | None = None
    ended_by: Task | None = None

    @property
    def deadline(self) -> int:
        return self.submit_time + DEADLINE_S * 1000

    def move(self, status: Status) -> None:
        if status is not self.status:
            assert status.rank > self.status.rank
            self.told = (*self.told, status)
        self.status = status
        if status.terminal:
            self.drop()

    def drop(self) -> None:
        self.holder = self.lease_until = None


@dataclass
class Accounts:
    """Of the keys in one class: where each one's last claim began, and where its next one may."""

    last: dict[str, float] = field(default_factory=dict)
    next: dict[str, float] = field(default_factory=dict)

    def begin(self, owner: str) -> float:
        return max(self.next.get(owner, 0.0), max(self.last.values(), default=0.0))

    def claim(self, owner: str) -> None:
        begin = self.begin(owner)
        self.last[owner], self.next[owner] = begin, begin + 1 / WEIGHTS.get(owner, 1)


class StoreMachine(RuleBasedStateMachine):
    claims: Bundle[Task] = Bundle("claims")
    known: Bundle[str] = Bundle("known")  # ids, some of which are deleted by now

    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.database = open_database(databases.make())
        self.blobs = BlobStore(Path(self.folder.name) / "blobs")
        self.store = TaskStore(self.database, self.blobs, clock=self.clock, max_attempts=MAX_ATTEMPTS, deadline_s=DEADLINE_S, bounds=BOUNDS)
        self.tasks: dict[str, Expected] = {}
        self.inputs: set[str] = set()
        self.used: Counter[tuple[str, str]] = Counter()
        self.claimed: list[Task] = []
        self.accounts = {kind: Accounts() for kind in (INTERACTIVE, RELAX)}
        self.claims_left = 2  # before one takes a relaxed task first
        self.store._claims = itertools.count(RELAX_EVERY - self.claims_left)
        weighted = [{"id": id, "weight": weight, "digest": id, "label": "", "role": "user", "created": 0} for id, weight in WEIGHTS.items()]
        self.run(self.database.write(lambda connection: connection.execute(insert(keys), weighted).close()))

    def teardown(self) -> None:
        self.run(self.database.close())
        self.runner.close()
        self.folder.cleanup()

    def run(self, call: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await call

        return self.runner.run(awaited())

    def waiting(self) -> list[str]:
        return [id for id in sorted(self.tasks) if not self.tasks[id].status.terminal and self.tasks[id].lease_until is None]

    def best(self) -> str | None:
        """What a claim must take, which is then counted."""
        claimable = [id for id in self.waiting() if id not in self.overdue()]
        if not claimable:
            return None
        relax_first, self.claims_left = self.claims_left == 0, (self.claims_left or RELAX_EVERY) - 1

        def order(id: str) -> tuple[bool, float, str]:
            kind, owner = priority(self.tasks[id].mode), self.tasks[id].owner
            return (kind == INTERACTIVE) is relax_first, self.accounts[kind].begin(owner), id

        best = min(claimable, key=order)
        self.accounts[priority(self.tasks[best].mode)].claim(self.tasks[best].owner)
        return best

    def overdue(self) -> list[str]:
        return [id for id, task in self.tasks.items() if not task.status.terminal and task.deadline <= self.clock.now]

    def held(self, task: Task) -> bool:
        return task.id in self.tasks and self.tasks[task.id].holder is task

    def ended_by(self, task: Task, status: Status) -> bool:
        """Then it is told so again."""
        return task.id in self.tasks and self.tasks[task.id].ended_by is task and self.tasks[task.id].status is status

    def seen(self, id: str, owner: str | None) -> Expected | None:
        expected = self.tasks.get(id)
        return expected if expected is not None and owner in (None, expected.owner) else None

    def unfinished(self, owner: str | None) -> list[str]:
        return [id for id, task in sorted(self.tasks.items()) if not task.status.terminal and owner in (None, task.owner)]

    def refusal(self, owner: str, key: str | None, fingerprint: str | None) -> str | None:
        """What a submit must be answered with, if not with a new task: a task's id, or the error."""
        for id, task in self.tasks.items():
            if key is not None and (task.owner, task.repeat[0]) == (owner, key):
                return id if task.repeat[1] == fingerprint else "mismatch"
        return self.no_room(owner)

    def no_room(self, owner: str) -> str | None:
        if quota := QUOTAS[owner]:
            if self.used[owner, day_of(self.clock.now)] >= (quota.daily or 0):
                return "daily"
            if len(self.unfinished(owner)) >= (quota.concurrent or OF_KEY):
                return "concurrent"
        return "unfinished" if len(self.unfinished(None)) >= (BOUNDS.max_unfinished or 0) else None

    @rule(
        target=known,
        mode=st.sampled_from(["fast", None, "relax"]),
        owner=st.sampled_from(OWNERS),
        key=st.sampled_from([None, None, "k"]),
        fingerprint=st.sampled_from(["f", "g"]),
    )
    def submit(self, mode: str | None, owner: str, key: str | None, fingerprint: str) -> MultipleResults[str] | str:
        expected = self.refusal(owner, key, fingerprint)
        asked = new(mode, owner=owner, key=key, fingerprint=fingerprint)
        call = self.store.submit(asked, lambda id: self.blobs.put_inputs(id, b"s", b"t"), QUOTAS[owner])
        if expected in ("daily", "concurrent", "unfinished"):
            with pytest.raises((QuotaExceeded, QueueFull), match=expected):
                self.run(call)
            return multiple()
        if expected == "mismatch":
            with pytest.raises(IdempotencyMismatch):
                self.run(call)
            return multiple()
        task = self.run(call)
        if expected is not None:
            assert task.id == expected
            return multiple()
        assert task.id not in self.tasks
        self.tasks[task.id] = Expected(mode, self.clock.now, owner, (key, fingerprint))
        self.inputs.add(task.id)
        if owner:
            self.used[owner, day_of(self.clock.now)] += 1
        return task.id

    @rule(owner=st.sampled_from(OWNERS))
    def ask_for_room(self, owner: str) -> None:
        call = self.store.admit(owner, QUOTAS[owner])
        if expected := self.no_room(owner):
            with pytest.raises((QuotaExceeded, QueueFull), match=expected):
                self.run(call)
        else:
            assert self.run(call) == len(self.waiting())

    @rule(id=known, owner=st.sampled_from([None, *OWNERS]))
    def cancel(self, id: str, owner: str | None) -> None:
        expected = self.seen(id, owner)
        task = self.run(self.store.cancel(id, owner))
        assert (task is None) is (expected is None)
        if expected is not None and not expected.status.terminal:
            expected.move(Status.FAILURE)
            expected.reason = CANCELLED
            self.inputs.discard(id)

    @rule(id=known, owner=st.sampled_from([None, *OWNERS]))
    def delete(self, id: str, owner: str | None) -> None:
        expected = self.seen(id, owner)
        task = self.run(self.store.delete(id, owner))
        assert (task is None) is (expected is None)
        if expected is not None:
            del self.tasks[id]
            self.inputs.discard(id)

    @rule(target=claims, lease_s=st.integers(1, 5))
    def claim(self, lease_s: int) -> MultipleResults[Task] | Task:
        best = self.best()
        task = self.run(self.store.claim("worker", lease_s))
        if task is None:
            assert best is None
            return multiple()
        assert task.id == best
        expected = self.tasks[task.id]
        assert task.deadline == expected.deadline
        self.claimed.append(task)
        expected.losses = expected.attempt
        assert task.losses == expected.losses
        if task.fence == 1:
            expected.attempt = 1
        expected.holder, expected.lease_until = task, self.clock.now + lease_s * 1000
        expected.move(max(expected.status, Status.SUBMITTED, key=lambda status: status.rank))
        return task

    @rule(task=claims)
    def begin(self, task: Task) -> None:
        held = self.held(task)
        assert self.run(self.store.begin(task)) is held
        if held:
            self.tasks[task.id].attempt = self.tasks[task.id].losses + 1

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
        done = self.run(self.store.succeed(task, f"{task.id}/{task.fence}.png", "name.png", {"fence": task.fence}))
        assert done is (held or self.ended_by(task, Status.SUCCESS))
        if held:
            self.tasks[task.id].ended_by = task
            self.tasks[task.id].progress = 100
            self.tasks[task.id].move(Status.SUCCESS)

    @rule(task=claims)
    def fail(self, task: Task) -> None:
        held = self.held(task)
        assert self.run(self.store.fail(task, "no face", {})) is (held or self.ended_by(task, Status.FAILURE))
        if held:
            self.tasks[task.id].ended_by = task
            self.tasks[task.id].move(Status.FAILURE)

    @rule(task=claims)
    def release(self, task: Task) -> None:
        held = self.held(task)
        assert self.run(self.store.release(task)) is held
        if held:
            self.tasks[task.id].attempt = self.tasks[task.id].losses
            self.tasks[task.id].drop()

    @rule(seconds=st.sampled_from([1, 2, 3, 4, HALF_A_DAY_S]))
    def pass_time(self, seconds: int) -> None:
        self.clock.tick(seconds)

    @rule(limit=st.integers(1, 3))
    def fail_overdue(self, limit: int) -> None:
        overdue, ended = self.overdue(), self.run(self.store.fail_overdue(limit))
        assert len(ended) == len(set(ended)) == min(limit, len(overdue))
        assert set(ended) <= set(overdue)
        for id in ended:
            self.tasks[id].move(Status.FAILURE)
            self.tasks[id].reason = OVERDUE

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
            for reason in (CANCELLED, OVERDUE):
                assert (task.fail_reason or "").startswith(reason) is (expected.reason == reason), "such a task never ends otherwise"
            assert task.owner == expected.owner
            assert bool(task.result) is (task.status is Status.SUCCESS)
        assert self.run(self.store.count_waiting()) == len(self.waiting())
        assert self.run(self.store.count_unfinished()) == sum(not task.status.terminal for task in found)

    @invariant()
    def workers_are_told_what_is_still_theirs(self) -> None:
        assert self.run(self.store.held(self.claimed)) == {task.id for task in self.claimed if self.held(task)}

    @invariant()
    def lists_show_owners_their_own(self) -> None:
        for owner in (None, *OWNERS):
            theirs = [id for id, task in sorted(self.tasks.items()) if owner in (None, task.owner)]
            assert [task.id for task in self.run(self.store.get_many(sorted(self.tasks), owner))] == theirs
            assert [task.id for task in self.run(self.store.unfinished(owner))] == self.unfinished(owner)
            assert [task.id for task in self.run(self.store.newest(owner))] == theirs[::-1]
            page = self.run(self.store.query(Query(size=1), owner))
            assert ([task.id for task in page.tasks], page.total) == (theirs[::-1][:1], len(theirs))

    @invariant()
    def nothing_is_left_of_what_is_gone(self) -> None:
        assert set(self.run(self.blobs.ids_with_inputs())) == self.inputs
        counted = self.run(self.database.read(lambda connection: connection.execute(select(usage)).all()))
        assert {(row.key_id, row.day): row.submits for row in counted} == self.used

    @invariant()
    def every_change_is_owed_to_the_hook(self) -> None:
        query = select(callbacks.c.task_id, callbacks.c.task).order_by(callbacks.c.task_id, callbacks.c.rank)
        rows = self.run(self.database.read(lambda connection: connection.execute(query).all()))
        assert {row.task_id for row in rows} <= set(self.tasks)
        for id, expected in self.tasks.items():
            assert tuple(row.task["status"] for row in rows if row.task_id == id) == expected.told


def test_store(databases: Databases, examples: int) -> None:
    """`pytest --fuzz 6000 --timeout 3600` is the long form."""
    how = settings(max_examples=examples // 20, stateful_step_count=40, derandomize=True, deadline=None, database=None)
    run_state_machine_as_test(lambda: StoreMachine(databases), settings=how)  # type: ignore[arg-type]
