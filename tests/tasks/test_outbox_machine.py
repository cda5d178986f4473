"""The outbox under any order of states, tries, failures, lost couriers and time."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Awaitable
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, multiple, rule, run_state_machine_as_test
from sqlalchemy import Connection

from serve_app.tasks import outbox
from serve_app.tasks.database import open_database
from serve_app.tasks.outbox import Callback, GivenUp, Outbox, Outcome, PutOff, Verdict
from serve_app.tasks.task import Status, Task
from tests.tasks.common import HOOK, Clock
from tests.tasks.databases import Databases

T = TypeVar("T")
LEASE_S = 5
STATES = [Status.SUBMITTED, Status.IN_PROGRESS, Status.FAILURE]


class OutboxMachine(RuleBasedStateMachine):
    tries: Bundle[Callback] = Bundle("tries")

    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.database = open_database(databases.make())
        self.outbox = Outbox(self.database, clock=self.clock)
        self.recorded: dict[str, list[Status]] = defaultdict(list)
        self.tried: dict[str, list[Status]] = defaultdict(list)
        self.heard: dict[str, list[Status]] = defaultdict(list)
        self.under_way: dict[str, tuple[Callback, int]] = {}
        self.troubled: set[str] = set()
        self.dead: set[str] = set()

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.run(self.database.close())
            self.runner.close()
            self.folder.cleanup()

    def run(self, call: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await call

        return self.runner.run(awaited())

    def drain(self) -> None:
        """From now on every hook answers."""
        self.clock.tick(10**6)
        while claimed := self.take(10):
            for callback in claimed:
                self.hear(callback)
        for id, recorded in self.recorded.items():
            assert self.heard[id] == sorted(self.heard[id], key=lambda status: status.rank)
            if id not in self.troubled:
                assert self.heard[id] == recorded, "a hook that always answered heard every state"
            if id not in self.dead:
                assert recorded[-1] in self.heard[id], "the newest state is never lost"

    def take(self, limit: int) -> list[Callback]:
        due = self.run(self.outbox.any_due())
        claimed = self.run(self.outbox.claim_due(limit, LEASE_S))
        assert bool(claimed) is due
        for callback in claimed:
            id = callback.task.id
            assert self.clock.now >= self.under_way.pop(id, (callback, 0))[1], "one try of a task at a time"
            assert all(callback.task.status.rank >= earlier.rank for earlier in self.tried[id]), "never backwards"
            self.under_way[id] = (callback, self.clock.now + LEASE_S * 1000)
            self.tried[id].append(callback.task.status)
        return claimed

    def settle(self, callback: Callback, verdict: Verdict, retry_at: int | None = None) -> None:
        if self.under_way.get(callback.task.id, (None, 0))[0] is callback:
            del self.under_way[callback.task.id]
        self.run(self.outbox.settle([Outcome(callback, verdict, retry_at)]))

    def hear(self, callback: Callback) -> None:
        self.heard[callback.task.id].append(callback.task.status)
        self.settle(callback, Verdict.DELIVERED)

    def current(self, callback: Callback) -> bool:
        return self.under_way.get(callback.task.id, (None, 0))[0] is callback

    @rule(n=st.integers(0, 2))
    def change(self, n: int) -> None:
        id = f"{n:016d}"
        recorded = self.recorded[id]
        if len(recorded) == len(STATES):
            return
        task = Task(id, STATES[len(recorded)], 0, None, None, HOOK, None, "http://b", submit_time=1)

        def work(connection: Connection) -> None:
            outbox.record(connection, [task], self.clock.now)

        self.run(self.database.write(work))
        recorded.append(task.status)

    @rule(target=tries, limit=st.integers(1, 3))
    def claim(self, limit: int) -> MultipleResults[Callback]:
        return multiple(*self.take(limit))

    @rule(callback=tries)
    def deliver(self, callback: Callback) -> None:
        if self.current(callback):
            self.hear(callback)

    @rule(callback=tries, seconds=st.integers(0, 20))
    def fail(self, callback: Callback, seconds: int) -> None:
        """Also by a courier whose lease is over."""
        self.troubled.add(callback.task.id)
        self.settle(callback, Verdict.FAILED, self.clock.now + seconds * 1000)

    @rule(callback=tries)
    def give_up(self, callback: Callback) -> None:
        self.troubled.add(callback.task.id)
        if self.current(callback) and callback.task.status is self.recorded[callback.task.id][-1]:
            self.dead.add(callback.task.id)
        self.settle(callback, Verdict.DEAD)

    @rule(seconds=st.integers(1, 20), blamed=st.booleans())
    def put_off(self, seconds: int, blamed: bool) -> None:
        due = self.run(self.outbox.due(2))
        if blamed:
            self.troubled |= {row.task_id for row in due}
        until = self.clock.now + seconds * 1000
        self.run(self.outbox.commit(put_off=[PutOff(row, until, "HTTP 500" if blamed else None) for row in due]))

    @rule()
    def give_up_untried(self) -> None:
        due = self.run(self.outbox.due(1))
        for row in due:
            self.troubled.add(row.task_id)
            if row.rank == self.recorded[row.task_id][-1].rank:
                self.dead.add(row.task_id)
        self.run(self.outbox.commit(given_up=[GivenUp(row, "HTTP 500") for row in due]))

    @rule(callback=tries)
    def hand_back(self, callback: Callback) -> None:
        self.settle(callback, Verdict.RETURNED)

    @rule(seconds=st.integers(1, 6))
    def pass_time(self, seconds: int) -> None:
        self.clock.tick(seconds)


def test_outbox(databases: Databases, examples: int) -> None:
    """`pytest --fuzz 6000 --timeout 3600` is the long form."""
    how = settings(max_examples=examples // 12, stateful_step_count=40, derandomize=True, deadline=None, database=None)
    run_state_machine_as_test(lambda: OutboxMachine(databases), settings=how)  # type: ignore[arg-type]
