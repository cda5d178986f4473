"""What every task and every answer of the contract has in common, in whatever state it is."""

from __future__ import annotations

import re
from typing import Any

import httpx2

PREFIXES = ("", "/mj-fast", "/mj-relax", "/mj-turbo")
SWAP = "/mj/insight-face/swap"
UNKNOWN = "1234567890123456"  # the id of no task
CORE = {
    "id",
    "action",
    "status",
    "prompt",
    "promptEn",
    "description",
    "state",
    "submitTime",
    "startTime",
    "finishTime",
    "progress",
    "imageUrl",
    "failReason",
    "properties",
    "buttons",
}
TEXTS = ("prompt", "promptEn", "description", "state", "imageUrl", "failReason", "botType")
CLOCK = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def accepted(answer: httpx2.Response) -> str:
    """The id of the task that a submit made."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert type(said["code"]) is int
    assert said["code"] == 1, said
    assert said["description"]
    assert isinstance(said["properties"], dict)
    assert isinstance(said["result"], str)
    assert re.fullmatch(r"\d{13,16}", said["result"])
    assert int(said["result"]) < 2**53, "JavaScript clients make numbers of ids"
    return said["result"]


def refused(answer: httpx2.Response, code: int, description: str, status: int = 200) -> dict[str, Any]:
    """The answer to a request that made no task."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    said = dict(answer.json())
    assert (said["code"], said["description"], said["result"]) == (code, description, None)
    assert isinstance(said["properties"], dict)
    return said


def checked(task: dict[str, Any]) -> dict[str, Any]:
    """The same task, once nothing in it can break a client."""
    assert task.keys() >= CORE
    assert re.fullmatch(r"\d{16}", task["id"])
    assert task["action"] == "SWAP_FACE"
    assert task["status"] in ("NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS", "FAILURE")
    assert all(task[name] is None or isinstance(task[name], str) for name in TEXTS)
    assert all(task[name] is None or type(task[name]) is int for name in ("submitTime", "startTime", "finishTime"))
    assert type(task["submitTime"]) is int
    assert isinstance(task["progress"], str)
    assert task["buttons"] == []
    assert isinstance(task["properties"], dict)
    assert task["properties"]["botType"] == "INSIGHT_FACE"
    assert task.get("imageUrls") is None, "an empty list is true in JavaScript"
    assert task.get("videoUrls") is None
    assert (task["progress"] == "100%") == (task["status"] == "SUCCESS") == bool(task["imageUrl"])
    assert bool(task["failReason"]) == (task["status"] == "FAILURE")
    if task["status"] in ("SUCCESS", "FAILURE"):
        assert task["submitTime"] <= task["startTime"] <= task["finishTime"]
    return task
