"""The transactions themselves. What they do is in test_store.py and test_store_machine.py; here is how they do it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, create_engine, event

from serve_app.tasks import outbox, query, quota, repeats, room, transitions
from serve_app.tasks.census import census
from serve_app.tasks.outbox import Due, GivenUp, Outcome, PutOff, Verdict
from serve_app.tasks.quota import Quota
from serve_app.tasks.schema import metadata
from serve_app.tasks.task import NewTask, Status, Task


def whole_life(connection: Connection) -> None:
    """Every statement that runs while tasks are worked on."""
    ids = [f"{n:016d}" for n in range(3)]
    for n, id in enumerate(ids):
        new = NewTask(None, None, "http://a/", None, "http://b", "key", f"again {n}", "same")
        assert repeats.first(connection, new) is None
        quota.check(connection, "key", Quota(9, 9), "2030-01-31")
        quota.count(connection, "key", Quota(9, 9), "2030-01-31")
        room.enter(connection, 9)
        transitions.add(connection, Task(id, Status.NOT_START, 0, None, None, "http://a/", None, "http://b", 1, owner="key"), new)
        assert repeats.first(connection, new)
    for owner in (None, "key"):
        assert list(query.find(connection, ids, owner)) == ids
        assert [task.id for task in query.list_unfinished(connection, owner, 9)] == ids
        assert [task.id for task in query.list_newest(connection, owner, 9)] == ids[::-1]
        for status in (None, Status.SUCCESS, Status.SUBMITTED):
            for sort in ("id", "finish_time"):
                page = query.search(connection, query.Query(status=status, sort=sort), owner)
                assert page.total == len(page.tasks) == (0 if status else 3)
    assert census(connection).waiting == 3
    assert query.any_waiting(connection, 1)
    assert not transitions.any_expired(connection, 1)
    assert not transitions.any_overdue(connection, 1)
    assert transitions.any_unlimited(connection)
    transitions.limit_all(connection)
    assert not transitions.any_unlimited(connection)
    claims = [transitions.claim(connection, "worker", 1, 5) for _ in ids]
    first, second, third = (task for task in claims if task is not None)
    assert transitions.begin(connection, first)
    assert transitions.advance(connection, first, 10, 1)
    assert transitions.advance(connection, first, 20, 1)
    assert transitions.renew(connection, first, 5)
    assert transitions.release(connection, third)
    for _ in range(2):
        assert transitions.end(connection, second, {"status": Status.SUCCESS, "result": "r"}, 2)
    assert len(room.last(connection, 0)) == 1
    assert transitions.take_expired(connection, 9, 1, "lost", 9) == (0, 1)
    assert query.count_waiting(connection) == query.count_unfinished(connection) == 1
    assert query.held(connection, [first, second, third]) == set()
    assert transitions.fail_overdue(connection, 9, lambda seconds: f"too late: {seconds:g} s", 10**6) == [third.id]
    assert not transitions.cancel(connection, third.id, "key", "cancelled", 9)[1]
    for verdict in (Verdict.RETURNED, Verdict.FAILED, Verdict.DELIVERED):
        due = [Due(*row) for row in connection.execute(outbox._DUE, {"now": 9, "most": 9})]
        assert due
        outbox._put_off(connection, [PutOff(due[-1], 9)])
        for callback in outbox._take(connection, due, 9, 9):
            outbox._settle(connection, Outcome(callback, verdict, retry_at=9), 9)
    outbox._give_up(connection, [GivenUp(Due(first.id, 1, "", "", 1, 9, 1), "HTTP 500")])
    assert transitions.remove(connection, [third.id])


def test_every_statement_of_a_tasks_life_goes_by_an_index() -> None:
    """So that none gets slower as finished tasks pile up."""
    plans: dict[str, list[str]] = {}
    engine = create_engine("sqlite://")

    @event.listens_for(engine, "before_cursor_execute")
    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            one = parameters[0] if many else parameters
            rows = cursor.connection.execute("EXPLAIN QUERY PLAN " + statement, one).fetchall()
            plans[statement] = [row[3] for row in rows]

    with engine.connect() as connection:
        metadata.create_all(connection)
        plans.clear()
        whole_life(connection)
    engine.dispose()
    assert len(plans) > 15
    slow = {
        statement: step
        for statement, steps in plans.items()
        for step in steps
        if "TEMP B-TREE" in step or (step.startswith("SCAN") and "INDEX" not in step and "CONSTANT" not in step)
    }
    assert slow == {}
