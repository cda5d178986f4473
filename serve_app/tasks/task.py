"""A task: one picture asked for, from its acceptance to its end. Pure records, no storage."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

ACTION = "SWAP_FACE"
PROMPT = "InsightFace"
DESCRIPTION = "/swap "  # and the task's id
INTERACTIVE, RELAX = 0, -1  # what a task's priority may be; higher goes first
_RANK = {"NOT_START": 0, "SUBMITTED": 1, "IN_PROGRESS": 2, "SUCCESS": 3, "FAILURE": 3}


class Status(StrEnum):
    """Where a task stands, in the words of the Midjourney-Proxy contract. A task only ever moves to a higher rank."""

    NOT_START = "NOT_START"
    SUBMITTED = "SUBMITTED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"

    @property
    def rank(self) -> int:
        """0 to 3; both ends share the highest, so neither can follow the other."""
        return _RANK[self.value]

    @property
    def terminal(self) -> bool:
        return self.rank == 3


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a submit asks for.

    mode: "fast", "turbo", "relax" or None. state: echoed as it came. notify_hook: the URL that hears of this task,
    the request's own or the global one, or None. base_url: scheme, host and path under which pictures are handed out.
    owner: id of the key that it comes with, "" while the service is open. idempotency_key: of several submits of one owner with
    the same key, the first makes the task and the others get it. fingerprint: what tells such a repetition from another request.
    fresh: no other submit with this key has been made, so that none needs to be looked for. options: what is asked for beside the pictures.
    traceparent: the span that it was submitted in, as W3C has it; None outside of traces.
    """

    mode: str | None
    state: str | None
    notify_hook: str | None
    instance_id: str | None
    base_url: str
    owner: str = ""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    fresh: bool = False
    options: dict[str, Any] | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One task as a commit left it. Times are milliseconds since the epoch.

    progress: 0 to 100, never falling. result: key of the picture's bytes. result_name: last segment of its URL.
    attempt: how often work on it was begun and not given back. fence: grows with each claim; a write that names an older one is refused.
    lease_until: when the lease of the worker that has it runs out; None while it waits and after its end. owner: as in NewTask.
    deadline: when it fails, wherever it stands; 0 only in what an older release wrote down of a task.
    hook_error: why its hook was given up, without the hook's URL. options, traceparent: as in NewTask.
    """

    id: str
    status: Status
    progress: int
    mode: str | None
    state: str | None
    notify_hook: str | None
    instance_id: str | None
    base_url: str
    submit_time: int
    start_time: int | None = None
    finish_time: int | None = None
    fail_reason: str | None = None
    result: str | None = None
    result_name: str | None = None
    properties: dict[str, object] = field(default_factory=dict)
    attempt: int = 0
    fence: int = 0
    lease_until: int | None = None
    owner: str = ""
    deadline: int = 0
    hook_error: str | None = None
    options: dict[str, Any] | None = None
    traceparent: str | None = None

    @property
    def losses(self) -> int:
        """Of a task as a claim returned it: how many attempts had been lost by then. Only the first claim counts itself."""
        return self.attempt - 1 if self.fence == 1 else self.attempt


def new_id(now: int) -> str:
    """An id as clients of the contract know it: the milliseconds `now` and three random digits, 16 digits in all."""
    return f"{now:013d}{secrets.randbelow(1000):03d}"


def new_result_name(id: str, ext: str) -> str:
    """Last segment of a picture's URL: the task's id and 128 random bits, so that knowing an id shows no picture."""
    return f"{id}-{secrets.token_urlsafe(16)}.{ext}"


def priority(mode: str | None) -> int:
    """RELAX for that mode. Fast, turbo and no mode are one class: anybody may choose a prefix, and pays nothing for it."""
    return RELAX if mode == "relax" else INTERACTIVE
