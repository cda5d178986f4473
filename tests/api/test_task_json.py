"""api/schema.py: the Task JSON has the types that strict clients decode, in every state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, ConfigDict

from serve_app.api.schema import task_json
from serve_app.tasks.task import Status, Task
from tests.api.support import Service, sample

CORE = "id action status prompt promptEn description state submitTime startTime finishTime progress imageUrl failReason properties buttons"


class Strict(BaseModel):
    """As Go's encoding/json fills typed structs: null is fine, another type is an error, unknown members are skipped."""

    model_config = ConfigDict(strict=True, extra="ignore")


class GoProperties(Strict):
    finalPrompt: str | None = None
    finalZhPrompt: str | None = None


class GoTask(Strict):
    """The union of the structs that the known Go relays decode a task into."""

    id: str
    action: str | None
    customId: str | None = None
    botType: str | None
    prompt: str | None
    promptEn: str | None
    description: str | None
    state: str | None
    submitTime: int | None
    startTime: int | None
    finishTime: int | None
    imageUrl: str | None
    videoUrl: str | None = None
    videoUrls: list[dict[str, str]] | None = None
    status: str
    progress: str
    failReason: str | None
    buttons: Any
    maskBase64: str | None = None
    properties: GoProperties | None


WAITING = Task(
    id="1724000000000123",
    status=Status.NOT_START,
    progress=0,
    mode=None,
    state=None,
    notify_hook="https://user:pass@hook.example/?token=1",
    instance_id=None,
    base_url="http://127.0.0.1:8000",
    submit_time=1724000000000,
)
NAME = "1724000000000123-abcdefghijklmnopqrstuv.png"
STATES = {
    "waiting": WAITING,
    "submitted": replace(WAITING, status=Status.SUBMITTED, start_time=1724000000300, mode="turbo", state="", instance_id="61"),
    "working": replace(WAITING, status=Status.IN_PROGRESS, start_time=1724000000300, progress=45),
    "nearly done": replace(WAITING, status=Status.IN_PROGRESS, start_time=1724000000300, progress=100),
    "done": replace(
        WAITING,
        status=Status.SUCCESS,
        progress=100,
        start_time=1724000000300,
        finish_time=1724000000700,
        result="1724000000000123/x.png",
        result_name=NAME,
        properties={"family": "builtin", "botType": "spoilt", "ms": {"decode": 1.5}},
    ),
    "failed": replace(
        WAITING, status=Status.FAILURE, progress=45, start_time=1724000000300, finish_time=1724000000700, fail_reason="no face in target"
    ),
    "failed before it started": replace(WAITING, status=Status.FAILURE, finish_time=1724000000700, fail_reason=""),
}


def shown(state: str, public_url: str | None = None) -> Any:
    return orjson.loads(orjson.dumps(task_json(STATES[state], public_url)))


@pytest.mark.parametrize("state", STATES)
def test_strict_clients_decode_every_state(state: str) -> None:
    task = shown(state)
    GoTask.model_validate(task)
    assert set(CORE.split()) <= set(task)
    assert task["buttons"] == []
    assert {"imageUrls", "videoUrls"}.isdisjoint(task)  # browsers take even an empty list for pictures
    assert (task["progress"] == "100%") == (task["status"] == "SUCCESS" and task["imageUrl"] is not None)
    assert bool(task["failReason"]) == (task["status"] == "FAILURE")
    assert task["fail_reason"] == task["failReason"]
    assert task["botType"] == task["properties"]["botType"] == "INSIGHT_FACE"
    if task["finishTime"] is not None:
        assert task["submitTime"] <= task["startTime"] <= task["finishTime"]


def test_progress_in_every_state() -> None:
    assert {state: shown(state)["progress"] for state in STATES} == {
        "waiting": "0%",
        "submitted": "0%",
        "working": "45%",
        "nearly done": "99%",
        "done": "100%",
        "failed": "",
        "failed before it started": "",
    }


def test_a_success_in_full() -> None:
    task = shown("done")
    displays = task.pop("displays")
    assert task == {
        "id": "1724000000000123",
        "action": "SWAP_FACE",
        "status": "SUCCESS",
        "prompt": "InsightFace",
        "promptEn": "InsightFace",
        "description": "/swap 1724000000000123",
        "state": None,
        "submitTime": 1724000000000,
        "startTime": 1724000000300,
        "finishTime": 1724000000700,
        "progress": "100%",
        "imageUrl": f"http://127.0.0.1:8000/mj/image/{NAME}",
        "failReason": None,
        "fail_reason": None,
        "botType": "INSIGHT_FACE",
        "mode": None,
        "buttons": [],
        "properties": {
            "family": "builtin",
            "ms": {"decode": 1.5},
            "botType": "INSIGHT_FACE",
            "discordInstanceId": "",
            "finalPrompt": "",
        },
    }
    assert set(displays) == {"action", "status", "submitTime", "startTime", "finishTime", "discordInstanceId"}
    assert displays["submitTime"][13:] == ":53:20"  # the hour is the server's


def test_what_a_submit_brought_is_repeated() -> None:
    task = shown("submitted")
    assert (task["state"], task["mode"]) == ("", "TURBO")
    assert task["properties"]["discordInstanceId"] == task["displays"]["discordInstanceId"] == "61"
    assert task["displays"]["finishTime"] is None


@pytest.mark.parametrize("public_url", ["https://faces.example/base", "https://faces.example/base/"])
def test_the_public_address_goes_before_the_one_asked(public_url: str) -> None:
    assert shown("done", public_url)["imageUrl"] == f"https://faces.example/base/mj/image/{NAME}"


def test_hooks_are_nobody_elses_business() -> None:
    assert all("hook.example" not in str(shown(state)) for state in STATES)


def test_a_failure_always_has_a_reason() -> None:
    assert shown("failed before it started")["failReason"]


async def test_the_whole_life_of_a_task_over_http(service: Service) -> None:
    id = (await service.submit(state="room:user"))["result"]
    seen = [await service.fetch(id)]
    task = await service.store.claim("test", 30)
    assert task is not None
    seen.append(await service.fetch(id))
    await service.store.advance(task, 40)
    seen.append(await service.fetch(id))
    await service.blobs.put(f"{id}/r.png", sample(5))
    await service.store.succeed(task, f"{id}/r.png", f"{id}-abcdefghijklmnopqrstuv.png", {})
    seen.append(await service.fetch(id))
    for body in seen:
        GoTask.model_validate(body)
        assert body["state"] == "room:user"
    assert [body["status"] for body in seen] == ["NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS"]
    assert [body["progress"] for body in seen] == ["0%", "0%", "40%", "100%"]
    picture = await service.client.get(seen[-1]["imageUrl"])
    assert picture.content == sample(5)
