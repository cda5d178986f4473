"""The compatibility cases of the Midjourney-Proxy contract, one test each, over real HTTP."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.pictures import ASTRONAUT, HANKS, data_url, head, jpeg, png, read
from tests.service.client import DEADLINE_S, Client, send
from tests.service.contract.replays import NewApi, comfly, opened
from tests.service.contract.shapes import CLOCK, PREFIXES, SWAP, UNKNOWN, accepted, checked, refused
from tests.service.contract.slow import MAX_WAITING, Slow, slow_service
from tests.service.contract.strict import RELAYED_TASK, array, decode
from tests.service.hook import listening, offering
from tests.service.processes import child_of, members

FACE, PHOTO = HANKS.read_bytes(), jpeg(head(2))
S, T2 = data_url(FACE), data_url(PHOTO, "image/jpeg")
BODY = {"sourceBase64": S, "targetBase64": T2}
WALL = png(np.full((96, 128, 3), 127, np.uint8))  # nobody is in it
STATUSES = ["NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS", "FAILURE"]
LIMIT = 10 * 1024 * 1024


@pytest.fixture(params=PREFIXES, ids=lambda prefix: prefix or "bare")
def any_prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PREFIXES[:2], ids=lambda prefix: prefix or "bare")
def prefix(request: pytest.FixtureRequest) -> str:
    """Where it is enough that there may be one: all of them lead to one route, tests/api/test_prefix.py."""
    return str(request.param)


@pytest.fixture(scope="module")
def done(client: Client) -> dict[str, Any]:
    """A task that succeeded, submitted under a mode prefix."""
    task = accepted(client.request("POST", "/mj-fast" + SWAP, json={**BODY, "state": "room:user", "accountFilter": {"instanceId": "61"}}))
    state = client.finished(task)
    assert state["status"] == "SUCCESS", state["failReason"]
    return state


@pytest.fixture(scope="module")
def other(client: Client) -> dict[str, Any]:
    """Another one."""
    return client.finished(client.submit(FACE, png(head(1))))


@pytest.fixture(scope="module")
def one_slow_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slow]:
    with slow_service(tmp_path_factory.mktemp("slow")) as service:
        yield service


@pytest.fixture
def slow(one_slow_service: Slow) -> Iterator[Slow]:
    """The slow service, with nothing to do."""
    yield one_slow_service
    one_slow_service.cancel_all()


def asked(data: Path, statement: str, *values: str) -> list[tuple[Any, ...]]:
    """What stands in a service's table."""
    with contextlib.closing(sqlite3.connect(data / "tasks.db")) as database:
        return database.execute(statement, values).fetchall()


def owed(data: Path, task: str) -> int:
    """Callbacks that are still to be heard."""
    return len(asked(data, "select 1 from callbacks where task_id = ?", task))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_01_a_swap_is_accepted_with_mj_api_secret(client: Client, any_prefix: str) -> None:
    task = accepted(send("POST", client.base + any_prefix + SWAP, json=BODY, headers={"mj-api-secret": str(client.secret)}))
    assert client.finished(task)["status"] == "SUCCESS"


def test_02_a_swap_is_accepted_with_a_bearer_token(client: Client, prefix: str) -> None:
    accepted(send("POST", client.base + prefix + SWAP, json=BODY, headers={"Authorization": f"Bearer {client.secret}"}))


def test_03_a_swap_is_accepted_with_a_raw_authorization(client: Client, prefix: str) -> None:
    accepted(send("POST", client.base + prefix + SWAP, json=BODY, headers={"Authorization": str(client.secret)}))


def test_04_a_swap_is_accepted_with_both_headers(client: Client, prefix: str) -> None:
    secret = str(client.secret)
    for raw in ({"mj-api-secret": secret, "Authorization": secret}, {"mj-api-secret": secret, "Authorization": "Bearer of bad news"}):
        accepted(send("POST", client.base + prefix + SWAP, json=BODY, headers=raw))


@pytest.mark.parametrize(
    "headers", [{}, {"mj-api-secret": "wrong"}, {"Authorization": "Bearer wrong"}, {"Authorization": "wrong"}], ids=str
)
def test_05_without_the_secret_nothing_is_said_or_done(
    client: Client, data_dir: Path, done: dict[str, Any], headers: dict[str, str], prefix: str
) -> None:
    before = asked(data_dir, "select max(id), count(*) from tasks")
    for method, path, body in (
        ("POST", SWAP, BODY),
        ("GET", f"/mj/task/{done['id']}/fetch", None),
        ("POST", "/mj/task/list-by-condition", {"ids": [done["id"]]}),
    ):
        answer = send(method, client.base + prefix + path, json=body, headers=headers)
        assert refused(answer, 4, "Unauthorized", 401)["error"] == "Unauthorized"
    assert asked(data_dir, "select max(id), count(*) from tasks") == before


def test_06_a_service_without_a_secret_needs_none(slow: Slow, prefix: str) -> None:
    accepted(send("POST", slow.client.base + prefix + SWAP, json=BODY))


@pytest.mark.parametrize("blank", [{}, {"sourceBase64": ""}, {"sourceBase64": " \n"}, {"sourceBase64": None}], ids=str)
def test_07_a_missing_face_is_named(client: Client, blank: dict[str, Any], prefix: str) -> None:
    answer = client.request("POST", prefix + SWAP, json={"targetBase64": T2, **blank})
    refused(answer, 4, "人脸图片不能为空")


@pytest.mark.parametrize("blank", [{}, {"targetBase64": ""}, {"targetBase64": " \n"}, {"targetBase64": None}], ids=str)
def test_08_a_missing_target_is_named(client: Client, blank: dict[str, Any], prefix: str) -> None:
    answer = client.request("POST", prefix + SWAP, json={"sourceBase64": S, **blank})
    refused(answer, 4, "目标图片不能为空")


def test_09_a_picture_is_not_swapped_with_itself(client: Client, prefix: str) -> None:
    for target in (S, base64.b64encode(FACE).decode()):
        answer = client.request("POST", prefix + SWAP, json={"sourceBase64": S, "targetBase64": target})
        refused(answer, 4, "人脸图片和目标图片不能相同")


def test_10_a_face_that_is_no_base64_is_refused(client: Client, prefix: str) -> None:
    answer = client.request("POST", prefix + SWAP, json={**BODY, "sourceBase64": "data:image/png;base64,@@@"})
    refused(answer, 4, "人脸图片格式错误")


@pytest.mark.parametrize("data", [b"%@!", b"no picture at all", b"GIF89a" + bytes(64), PHOTO[:-2000], png(head(1))[:200]], ids=len)
def test_11_a_target_that_is_no_picture_is_refused(client: Client, data: bytes, prefix: str) -> None:
    answer = client.request("POST", prefix + SWAP, json={**BODY, "targetBase64": data_url(data, "image/jpeg")})
    refused(answer, 4, "目标图片格式错误")


def test_12_a_face_over_the_limit_is_refused(client: Client, prefix: str) -> None:
    body = {**BODY, "sourceBase64": data_url(FACE + bytes(LIMIT + 1 - len(FACE)))}
    refused(client.request("POST", prefix + SWAP, json=body), 4, "人脸图片大小超过最大限制")


def test_13_base64_needs_no_data_url(client: Client, prefix: str) -> None:
    body = {"sourceBase64": base64.b64encode(FACE).decode(), "targetBase64": base64.b64encode(PHOTO).decode()}
    assert client.finished(accepted(client.request("POST", prefix + SWAP, json=body)))["status"] == "SUCCESS"


def test_14_the_bytes_count_not_the_declared_type(client: Client, prefix: str) -> None:
    for picture, wrong, kind in ((PHOTO, "image/png", "JPEG"), (png(head(1)), "image/jpeg", "PNG")):
        body = {"sourceBase64": data_url(FACE, wrong), "targetBase64": data_url(picture, wrong)}
        state = client.finished(accepted(client.request("POST", prefix + SWAP, json=body)))
        with Image.open(io.BytesIO(client.picture(state))) as result:
            assert result.format == kind


def nearly_10_mib(path: Path, side: int) -> bytes:
    """A real photograph, enlarged and grainy."""
    picture = cv2.resize(read(path), (side, side), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    grain = np.random.default_rng(0).integers(-4, 5, picture.shape, np.int16)
    data = png(np.clip(picture + grain, 0, 255).astype(np.uint8))
    assert 0.9 * LIMIT < len(data) <= LIMIT, len(data)
    return data


def test_15_two_pictures_of_10_mib_are_accepted(client: Client) -> None:
    face, photo = nearly_10_mib(HANKS, 2560), nearly_10_mib(ASTRONAUT, 2560)
    body = json.dumps({"sourceBase64": data_url(face), "targetBase64": data_url(photo)})
    assert len(body) > 25_000_000
    task = accepted(client.request("POST", SWAP, content=body, headers={"Content-Type": "application/json"}))
    assert opened(client.picture(client.finished(task))).size == (2560, 2560)


@pytest.mark.parametrize(
    "extra",
    [
        {"seed": 7, "mode": "RELAX", "request_id": None, "botType": "INSIGHT_FACE", "accountFilter": {"modes": ["FAST"]}},
        {"accountFilter": None, "notifyHook": "", "state": ""},
        {"accountFilter": {}, "notifyHook": None, "state": None},
        {"accountFilter": {"instanceId": "", "channelId": None, "remark": "", "remix": True, "modes": None}},
    ],
    ids=["members", "blanks", "nulls", "filter"],
)
def test_16_members_that_mean_nothing_here_are_tolerated(client: Client, extra: dict[str, Any], prefix: str) -> None:
    accepted(client.request("POST", prefix + SWAP, json={**BODY, **extra}))


def test_17_urls_may_be_blank_beside_base64(client: Client, prefix: str) -> None:
    accepted(client.request("POST", prefix + SWAP, json={**BODY, "sourceUrl": "", "targetUrl": ""}))


def test_18_pictures_may_come_by_url_and_only_from_where_they_may(client: Client, prefix: str) -> None:
    with offering({"face": FACE, "photo.jpg": PHOTO, "page": b"<html>"}) as site:
        body = {"sourceUrl": f"{site}/face", "targetUrl": f"{site}/photo.jpg", "sourceBase64": "", "targetBase64": None}
        assert client.finished(accepted(client.request("POST", prefix + SWAP, json=body)))["status"] == "SUCCESS"
        for wrong in ("http://10.0.0.1/face", "http://169.254.169.254/latest/meta-data", "ftp://127.0.0.1/face", f"{site}/nowhere", "face"):
            refused(client.request("POST", prefix + SWAP, json={**body, "sourceUrl": wrong}), 4, "人脸图片URL格式错误")
            refused(client.request("POST", prefix + SWAP, json={**body, "targetUrl": wrong}), 4, "目标图片URL格式错误")
        refused(client.request("POST", prefix + SWAP, json={**body, "targetUrl": f"{site}/page"}), 4, "目标图片格式错误")
        refused(client.request("POST", prefix + SWAP, json={"sourceBase64": f"{site}/face", "targetBase64": T2}), 4, "人脸图片URL格式错误")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b"<html>", b'{"sourceBase64": 1}', b'{"a":NaN}'], ids=str
)
def test_19_malformed_json_is_answered_in_json(client: Client, body: bytes, prefix: str) -> None:
    answer = client.request("POST", prefix + SWAP, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert (answer.json()["code"], answer.json()["result"]) == (4, None)


def test_20_a_full_queue_refuses_and_keeps_nothing(slow: Slow) -> None:
    slow.begin()
    for _ in range(MAX_WAITING):
        slow.submit()
    before = slow.count()
    for prefix in PREFIXES:
        refused(slow.client.request("POST", prefix + SWAP, json=BODY), 23, "队列已满，请稍后尝试")
    assert slow.count() == before
    inputs = {folder.name for folder in (slow.folder / "blobs" / "inputs").iterdir()}
    assert inputs == {task["id"] for task in slow.client.request("GET", "/mj/task/queue").json()}


def test_21_a_task_that_has_to_wait_is_accepted_like_any_other(slow: Slow) -> None:
    slow.begin()
    for number, prefix in enumerate(PREFIXES):
        answer = slow.client.request("POST", prefix + SWAP, json=BODY)
        accepted(answer)
        assert type(answer.json()["properties"]["numberOfQueues"]) is int
        assert answer.json()["properties"]["numberOfQueues"] == number


def test_22_a_task_can_be_fetched_at_once(slow: Slow, prefix: str) -> None:
    running = slow.begin()
    waiting = accepted(slow.client.request("POST", prefix + SWAP, json=BODY))
    for task, statuses in ((waiting, STATUSES[:1]), (running, STATUSES[1:3])):
        answer = slow.client.request("GET", f"{prefix}/mj/task/{task}/fetch")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        state = checked(answer.json())
        assert state["id"] == task
        assert state["status"] in statuses
        assert re.fullmatch(r"\d{1,2}%", state["progress"])
        assert (state["imageUrl"], state["failReason"], state["finishTime"]) == (None, None, None)
    assert slow.client.fetch(waiting)["progress"] == "0%"


@pytest.mark.parametrize("form", [*PREFIXES, "/fast", "/mj-turbo-relay", "/", "/mj", "/mj/mj-fast"])
def test_23_a_task_is_the_same_under_every_prefix(client: Client, done: dict[str, Any], form: str) -> None:
    for end in ("", "/", "?rand=1"):
        answer = client.request("GET", f"{form}/mj/task/{done['id']}/fetch{end}")
        assert answer.status_code == 200
        assert answer.json() == done


def test_24_a_task_that_succeeded_has_a_picture_and_all_times(client: Client, any_prefix: str) -> None:
    state = client.finished(accepted(client.request("POST", any_prefix + SWAP, json=BODY)))
    assert checked(state)["status"] == "SUCCESS"
    assert state["progress"] == "100%"
    assert re.fullmatch(r"https?://[^/]+/\S+", state["imageUrl"])
    assert state["failReason"] is None
    assert 0 < state["submitTime"] <= state["startTime"] <= state["finishTime"]
    assert state["mode"] == (any_prefix.removeprefix("/mj-").upper() or None)


def test_25_anybody_may_get_the_picture_by_its_address(client: Client, done: dict[str, Any]) -> None:
    answers = [send("GET", done["imageUrl"], headers={}) for _ in range(3)]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert answer.content == answers[0].content
    assert opened(answers[0].content).size == opened(PHOTO).size
    without = send("HEAD", done["imageUrl"])
    assert without.content == b""
    assert {name: without.headers[name] for name in ("content-length", "etag", "content-type")} == {
        name: answers[0].headers[name] for name in ("content-length", "etag", "content-type")
    }
    assert send("GET", done["imageUrl"], headers={"If-None-Match": without.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("at_fault", ["source", "target"])
def test_26_a_picture_without_a_face_fails_and_says_which(client: Client, at_fault: str) -> None:
    task = client.submit(**{"source": FACE, "target": PHOTO, at_fault: WALL})
    state = checked(client.finished(task))
    assert state["status"] == "FAILURE"
    assert f"{at_fault} picture" in state["failReason"]
    assert "no face" in state["failReason"]
    assert state["progress"] == ""
    assert state["imageUrl"] is None
    assert 0 < state["startTime"] <= state["finishTime"]


@pytest.mark.parametrize("text", ["room:user", '{"a": "汉字 \\u0000 é \U0001f600"}', " blanks \n"])
def test_27_state_comes_back_as_it_was_sent(client: Client, text: str) -> None:
    with listening() as hook:
        task = client.submit(FACE, PHOTO, state=text, notifyHook=hook.url)
        assert {state["state"] for state in hook.wait_for_end(task)} == {text}
    assert client.fetch(task)["state"] == text
    for path in ("list-by-condition", "list-by-ids"):
        assert [state["state"] for state in client.request("POST", f"/mj/task/{path}", json={"ids": [task]}).json()] == [text]


@pytest.mark.parametrize("unknown", [UNKNOWN, "none", "0", "-1", "%00", "null"])
def test_28_an_unknown_task_is_not_found_in_json(client: Client, unknown: str, prefix: str) -> None:
    assert refused(client.request("GET", f"{prefix}/mj/task/{unknown}/fetch"), 3, "任务不存在", 404)["error"] == "Not Found"


def test_29_a_list_has_the_tasks_that_exist_and_nothing_else(
    client: Client, done: dict[str, Any], other: dict[str, Any], any_prefix: str
) -> None:
    body = {"ids": [done["id"], other["id"], "nope"]}
    answer = client.request("POST", f"{any_prefix}/mj/task/list-by-condition", json=body, timeout=5)
    assert answer.status_code == 200
    assert sorted(answer.json(), key=lambda state: str(state["id"])) == [done, other]


def test_30_ids_may_be_numbers(client: Client, done: dict[str, Any], prefix: str) -> None:
    assert client.request("POST", f"{prefix}/mj/task/list-by-condition", json={"ids": [int(done["id"])]}).json() == [done]


@pytest.mark.parametrize("body", [b'{"ids":[]}', b"{}", b'{"ids":null}', b"null", b""], ids=str)
def test_31_no_ids_give_no_tasks(client: Client, body: bytes, prefix: str) -> None:
    for path in ("list-by-condition", "list-by-ids"):
        answer = client.request("POST", f"{prefix}/mj/task/{path}", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.content) == (200, b"[]")


def test_32_each_id_counts_once_however_many_there_are(client: Client, done: dict[str, Any], other: dict[str, Any], prefix: str) -> None:
    ids = [*(str(int(UNKNOWN) + number) for number in range(496)), done["id"], other["id"], done["id"], int(other["id"])]
    answer = client.request("POST", f"{prefix}/mj/task/list-by-condition", json={"ids": ids})
    assert answer.status_code == 200
    assert sorted(answer.json(), key=lambda state: str(state["id"])) == [done, other]


def test_33_a_list_by_ids_has_displays(client: Client, done: dict[str, Any], prefix: str) -> None:
    (state,) = client.request("POST", f"{prefix}/mj/task/list-by-ids", json={"ids": [done["id"]]}).json()
    assert state["properties"]["botType"] == "INSIGHT_FACE"
    assert state["properties"]["discordInstanceId"] == "61"
    assert state["buttons"] == []
    displays = state["displays"]
    assert displays.keys() == {"status", "action", "submitTime", "startTime", "finishTime", "discordInstanceId"}
    assert (displays["status"], displays["action"], displays["discordInstanceId"]) == ("SUCCESS", "SWAP_FACE", "61")
    assert all(re.fullmatch(CLOCK, displays[name]) for name in ("submitTime", "startTime", "finishTime"))


def test_34_every_state_can_be_decoded_strictly(slow: Slow) -> None:
    ids = [slow.begin(), slow.submit(state="kept"), slow.submit(state="cancelled")]
    seen: set[str] = set()
    while not {"SUCCESS", "FAILURE"} <= seen:
        answer = slow.client.request("POST", "/mj/task/list-by-condition", json={"ids": ids})
        for state, decoded in zip(answer.json(), decode(answer.content, array(RELAYED_TASK)), strict=True):
            seen.add(checked(state)["status"])
            assert decoded["id"] in ids
            assert decoded["status"] == state["status"]
        if "IN_PROGRESS" in seen:
            slow.client.request("POST", f"/mj/task/{ids[2]}/cancel")
    assert seen == set(STATUSES)


def test_35_the_queue_is_what_has_not_ended_oldest_first(slow: Slow) -> None:
    before = slow.client.finished(slow.submit())
    ids = [slow.begin(), *(slow.submit() for _ in range(3))]
    for prefix in PREFIXES:
        listed = slow.client.request("GET", f"{prefix}/mj/task/queue")
        assert listed.status_code == 200
        assert [checked(state)["id"] for state in listed.json()] == ids
        assert [state["submitTime"] for state in listed.json()] == sorted(state["submitTime"] for state in listed.json())
    assert before["id"] not in ids


def test_36_the_list_is_the_newest_first(client: Client, done: dict[str, Any], prefix: str) -> None:
    newest = client.submit(FACE, PHOTO)
    listed = client.request("GET", f"{prefix}/mj/task/list")
    assert listed.status_code == 200
    states = [checked(state) for state in listed.json()]
    assert states[0]["id"] == newest
    assert 2 <= len(states) <= 100
    times = [state["submitTime"] for state in states]
    assert times == sorted(times, reverse=True)


def test_37_tasks_are_found_by_the_page(client: Client, done: dict[str, Any], other: dict[str, Any], prefix: str) -> None:
    body = {"pageNumber": 0, "pageSize": 10, "sort": "submitTime,desc", "statusSet": ["SUCCESS"]}
    page = client.request("POST", f"{prefix}/mj/task/query", json=body).json()
    assert all(checked(state)["status"] == "SUCCESS" for state in page["content"])
    times = [state["submitTime"] for state in page["content"]]
    assert times == sorted(times, reverse=True)
    both = {**body, "ids": [done["id"], other["id"]], "pageSize": 1}
    first, last = (client.request("POST", f"{prefix}/mj/task/query", json={**both, "pageNumber": number}).json() for number in (0, 1))
    assert first["content"] == [other]
    assert last["content"] == [done]
    order = {"empty": False, "sorted": True, "unsorted": False}
    assert {**last, "content": []} == {
        "content": [],
        "empty": False,
        "first": False,
        "last": True,
        "number": 1,
        "numberOfElements": 1,
        "pageable": {"offset": 1, "pageNumber": 1, "pageSize": 1, "paged": True, "unpaged": False, "sort": order},
        "size": 1,
        "sort": order,
        "totalElements": 2,
        "totalPages": 2,
    }
    assert (first["first"], first["last"]) == (True, False)


def test_38_a_cancelled_task_ends_and_stays_ended(slow: Slow) -> None:
    with listening() as hook:
        running = slow.begin(notifyHook=hook.url)
        waiting = slow.submit(notifyHook=hook.url)
        after = slow.submit()
        for task, prefix in ((waiting, ""), (running, "/mj-fast")):
            answer = slow.client.request("POST", f"{prefix}/mj/task/{task}/cancel")
            assert answer.status_code == 200
            assert (answer.json()["code"], answer.json()["description"]) == (1, "成功")
        ended = {task: checked(slow.client.fetch(task)) for task in (running, waiting)}
        for task, state in ended.items():
            assert (state["status"], state["failReason"], state["imageUrl"]) == ("FAILURE", "取消任务", None)
            assert hook.wait_for_end(task)[-1] == state
        # There is one place to work in: when the next task has ended, whatever went on with these has ended too.
        assert slow.client.finished(after)["status"] == "SUCCESS"
        assert {task: slow.client.fetch(task) for task in ended} == ended
        for task in ended:
            until(partial(lambda task: not owed(slow.folder, task), task))
            assert [state["status"] for state in hook.told(task)].count("FAILURE") == 1
            assert "SUCCESS" not in [state["status"] for state in hook.told(task)]
            assert not (slow.folder / "blobs" / "inputs" / task).exists()


def test_39_what_has_ended_or_never_was_cannot_be_cancelled(client: Client, done: dict[str, Any], prefix: str) -> None:
    refused(client.request("POST", f"{prefix}/mj/task/{done['id']}/cancel"), 4, "任务已结束")
    assert client.fetch(done["id"]) == done
    refused(client.request("POST", f"{prefix}/mj/task/{UNKNOWN}/cancel"), 3, "任务不存在", 404)


def test_40_a_swap_has_no_seed(client: Client, done: dict[str, Any], prefix: str) -> None:
    for extra in ({}, {"content": b"null", "headers": {"Content-Type": "application/json"}}):
        path = f"{prefix}/mj/task/{{}}/image-seed"
        refused(client.request("GET", path.format(done["id"]), **extra), 4, "关联任务状态错误")
        refused(client.request("GET", path.format(UNKNOWN), **extra), 3, "关联任务不存在或已失效", 404)


def test_41_a_hook_hears_each_state_in_order_and_one_end(client: Client, data_dir: Path, prefix: str) -> None:
    with listening() as hook:
        body = {**BODY, "notifyHook": hook.url, "state": "fugiat", "accountFilter": {"instanceId": "string"}}
        task = accepted(client.request("POST", prefix + SWAP, json=body))
        end = hook.wait_for_end(task)[-1]
        until(lambda: not owed(data_dir, task))
        told = [checked(state) for state in hook.told(task)]
    ranks = [STATUSES.index(state["status"]) for state in told]
    assert ranks == sorted(ranks)
    assert (told[0]["status"], told[0]["progress"]) == ("SUBMITTED", "0%")
    assert [state["status"] for state in told if state["status"] in STATUSES[3:]] == ["SUCCESS"]
    assert {state["state"] for state in told} == {"fugiat"}
    assert end["properties"]["discordInstanceId"] == "string"
    assert end == client.fetch(task)
    assert {call.headers["content-type"].partition(";")[0] for call in hook.calls} == {"application/json"}
    assert not any(str(client.secret) in str(call.headers) for call in hook.calls)


def test_42_the_global_hook_hears_what_has_none_of_its_own(slow: Slow, client: Client, data_dir: Path) -> None:
    with listening() as hook:
        own = slow.submit(notifyHook=hook.url)
        blank, absent = slow.submit(notifyHook=" "), slow.submit()
        assert hook.wait_for_end(own)[-1]["status"] == "SUCCESS"
        for task in (blank, absent):
            assert slow.hook.wait_for_end(task)[-1]["status"] == "SUCCESS"
            assert hook.told(task) == []
    assert slow.hook.told(own) == []
    nobody = client.submit(FACE, PHOTO, notifyHook="")  # this service has no global one
    assert client.finished(nobody)["status"] == "SUCCESS"
    assert asked(data_dir, "select notify_hook from tasks where id = ?", nobody) == [(None,)]
    assert owed(data_dir, nobody) == 0


def test_43_a_hook_that_fails_is_tried_again_and_costs_the_task_nothing(client: Client, data_dir: Path) -> None:
    ends: list[str] = []

    def once_500(state: dict[str, Any]) -> int:
        if state["status"] not in STATUSES[3:]:
            return 500
        ends.append(state["id"])
        return 500 if len(ends) == 1 else 200

    with listening(once_500) as hook:
        task = client.submit(FACE, PHOTO, notifyHook=hook.url)
        assert [state["status"] for state in hook.wait_for_end(task, times=2)][-2:] == ["SUCCESS"] * 2
        until(lambda: not owed(data_dir, task))
    assert len(ends) == 2
    assert client.fetch(task)["status"] == "SUCCESS"
    # Nobody listens there any more.
    refusing = client.submit(FACE, PHOTO, notifyHook=hook.url)
    assert client.finished(refusing)["status"] == "SUCCESS"
    noted = "select 1 from callbacks where task_id = ? and error is not null and due is not null"
    until(lambda: bool(asked(data_dir, noted, refusing)))


def test_44_browsers_may_ask_from_anywhere(client: Client, prefix: str) -> None:
    wanted = "mj-api-secret,content-type,x-ptoken,authorization,mj-version,accept-language"
    preflight = send(
        "OPTIONS",
        client.base + prefix + SWAP,
        headers={"Origin": "https://x.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted},
    )
    assert preflight.is_success
    assert preflight.headers["access-control-allow-origin"] in ("*", "https://x.example")
    assert set(wanted.split(",")) <= {name.strip().lower() for name in preflight.headers["access-control-allow-headers"].split(",")}
    assert {"GET", "POST", "DELETE"} <= {name.strip() for name in preflight.headers["access-control-allow-methods"].split(",")}
    answer = client.request("POST", f"{prefix}/mj/task/list-by-condition", json={}, headers={"Origin": "https://x.example"})
    assert answer.headers.get_list("access-control-allow-origin") in (["*"], ["https://x.example"])
    assert {"x-request-id", "retry-after"} <= set(answer.headers["access-control-expose-headers"].lower().split(", "))


def test_45_a_restart_loses_nothing(slow: Slow) -> None:
    done = slow.client.finished(slow.submit(state="before"))
    picture = slow.client.picture(done)
    running, *queued = tasks = [slow.begin(), *(slow.submit() for _ in range(MAX_WAITING))]
    session = child_of(slow.service.process.pid)
    os.killpg(slow.service.process.pid, signal.SIGTERM)
    assert slow.service.process.wait(60) == 0
    assert members(session) == []
    left = dict(asked(slow.folder, "select id, status from tasks where lease_until is null"))
    assert [left.get(task) for task in queued[-3:]] == ["NOT_START"] * 3, "what waits is kept"
    assert {left.get(task) for task in tasks} == {"SUCCESS", "NOT_START"}, "what runs is finished first, and nothing is leased to nobody"
    slow.stop()
    slow.start()
    assert slow.client.fetch(done["id"]) == done
    assert slow.client.picture(done) == picture
    assert [slow.client.finished(task)["status"] for task in (running, queued[0], queued[1])] == ["SUCCESS"] * 3
    assert slow.client.fetch(queued[-1])["status"] in STATUSES[:4]


def test_46_a_relay_that_polls_ends_with_the_picture_or_the_refund(client: Client, prefix: str) -> None:
    gateway = NewApi(client.base + prefix, str(client.secret))
    good, bad = gateway.submit(BODY), gateway.submit({**BODY, "sourceBase64": data_url(WALL)})
    gateway.run()
    assert (good.status, good.progress, good.refunded) == ("SUCCESS", "100%", False)
    assert gateway.picture(good).size == opened(PHOTO).size
    assert (bad.status, bad.refunded) == ("FAILURE", True)


def test_47_it_takes_less_than_300_s_from_end_to_end_also_in_a_queue(client: Client) -> None:
    before = [client.submit(FACE, PHOTO) for _ in range(8)]
    assert comfly(client.base, str(client.secret), FACE, PHOTO).size == opened(PHOTO).size
    assert {client.finished(task)["status"] for task in before} == {"SUCCESS"}


@pytest.mark.parametrize(
    "path", ["/mj/nowhere", "/mj", "/mj/task", "/mj/task/1", "/mj/submit/imagine", "/mj/account/list", "/mj/image", "/mj/<b>"]
)
def test_48_an_unknown_route_is_said_in_json(client: Client, path: str, any_prefix: str) -> None:
    for method in ("GET", "POST"):
        answer = client.request(method, any_prefix + path, json={} if method == "POST" else None)
        assert answer.status_code in (404, 405)
        assert answer.headers["content-type"] == "application/json"
        said = answer.json()
        assert said["error"] == {404: "Not Found", 405: "Method Not Allowed"}[answer.status_code]
        assert said["path"] == any_prefix + path
        assert said["status"] == answer.status_code
        if path != "/mj/task/1":
            assert answer.status_code == 404


def test_all_cases_are_here() -> None:
    numbers = {name[5:7] for name in globals() if re.match(r"test_\d\d_", name)}
    assert numbers == {f"{number:02}" for number in range(1, 49)}
