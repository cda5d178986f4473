"""Rows of the table `tasks`, and the records that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, or_

from serve_app.tasks.schema import tasks
from serve_app.tasks.task import NewTask, Status, Task, priority
from serve_app.tasks.words import Words

OLDER_DEADLINE_MS = 280_000  # after its submit, of a task that a release without deadlines accepted

deadline: ColumnElement[int] = func.coalesce(tasks.c.deadline, tasks.c.submit_time + OLDER_DEADLINE_MS)
COLUMNS = [deadline.label(field.name) if field.name == "deadline" else tasks.c[field.name] for field in fields(Task)]

# The rows that the asking owner may see: its own, or everybody's where there is none. For statements that find rows by id;
# no index serves it.
visible = or_(bindparam("seen_by", type_=Words).is_(None), tasks.c.owner == bindparam("seen_by", type_=Words))


def to_task(row: Row[Any]) -> Task:
    return Task(**{**row._mapping, "status": Status(row.status)})


def to_values(task: Task, new: NewTask | None = None) -> Mapping[str, object]:
    """The columns of a new row. `new`: what was asked for, where it may be repeated."""
    repeat = (new.idempotency_key, new.fingerprint) if new else (None, None)
    return {
        **asdict(task),
        "deadline": task.deadline or None,
        "priority": priority(task.mode),
        "idempotency_key": repeat[0],
        "fingerprint": repeat[1],
    }
