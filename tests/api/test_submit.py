"""api/submit.py: what may be submitted when and how often, repetitions, and requests that wait for the end of their task."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from serve_app.api import watch
from serve_app.api.config import DefaultLimits, DefaultRates
from serve_app.egress.client import Egress
from serve_app.tasks.database import DatabaseUnavailable
from serve_app.tasks.reasons import CANCELLED
from serve_app.tasks.room import Bounds
from tests.api.site import NAMES, Site
from tests.api.support import LEFT_OUT, SWAP, MakeService, Service, data_url, sample, swap_body
from tests.egress.common import POLICY, Names, website

KEY = {"Idempotency-Key": "order-4711/1"}


async def answer(service: Service, headers: dict[str, str], **members: object) -> Any:
    response = await service.post(body=swap_body(**members), headers=headers)
    assert response.status_code == 200
    return response.json()


async def test_the_place_in_the_queue(service: Service) -> None:
    places = [(await service.submit())["properties"]["numberOfQueues"] for _ in range(3)]
    assert places == [0, 1, 2]


async def test_instances(make_service: MakeService) -> None:
    service = await make_service(instances=("61", "backup"))
    for given, shown in (("61", "61"), (61, "61"), (" backup ", "backup"), ("", ""), (None, ""), ({"odd": 1}, "")):
        body = await service.submit(accountFilter={"instanceId": given})
        assert (body["code"], body["properties"]["discordInstanceId"]) == (1, shown)
    assert (await service.submit(accountFilter={"modes": ["FAST"]}))["code"] == 1
    rows = service.rows()
    for unknown in ("62", "6", 610):
        refused = await service.submit(accountFilter={"instanceId": unknown})
        assert (refused["code"], refused["description"], refused["result"]) == (4, f"账号不可用: {unknown}", None)
        assert refused["properties"]["field"] == "accountFilter.instanceId"
    assert service.rows() == rows


async def test_without_a_list_of_instances_any_is_fine(service: Service) -> None:
    assert (await service.submit(accountFilter={"instanceId": "whatever"}))["properties"]["discordInstanceId"] == "whatever"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"wiat": 5}, "options.wiat"),
        ({"wait": 1, "enhance": True}, "options.enhance"),
        ({"wait": "5"}, "options.wait"),
        ({"wait": 61}, "options.wait"),
        ({"wait": -1}, "options.wait"),
        ([], "options"),
    ],
)
async def test_options_are_refused_by_name(service: Service, options: object, field: str) -> None:
    body = await service.submit(options=options)
    assert (body["code"], body["description"], body["properties"]["field"]) == (4, f"校验错误: {field}", field)
    assert service.rows() == len(service.stored()) == 0


WAITS: list[tuple[dict[str, str], dict[str, object]]] = [
    ({}, {"options": {"wait": 30}}),
    ({"Prefer": "wait=30"}, {}),
    ({"Prefer": 'respond-async, wait = "30"'}, {"options": {"wait": 0}}),
    ({"Prefer": "wait=100000"}, {}),
]


@pytest.mark.parametrize(("headers", "members"), WAITS)
async def test_who_waits_gets_the_finished_task(service: Service, headers: dict[str, str], members: dict[str, object]) -> None:
    asked = asyncio.create_task(answer(service, headers, **members))
    await asyncio.wait_for(service.arrived.wait(), 10)
    id = service.accepted[0].id
    name = await service.finish(id, sample(9))
    body = await asyncio.wait_for(asked, 10)
    assert (body["code"], body["result"]) == (1, id)
    assert body["task"] == await service.fetch(id)
    assert body["task"]["status"] == "SUCCESS"
    assert (await service.client.get(f"/mj/image/{name}")).content == sample(9)


async def test_a_submit_says_how_long_its_stages_took(service: Service) -> None:
    for options, last in (({}, "accept"), ({"wait": 0.1}, "wait")):
        timing = (await service.post(SWAP, {**swap_body(), "options": options})).headers["server-timing"]
        stages = {name: float(took) for name, took in (one.split(";dur=") for one in timing.split(", "))}
        assert list(stages)[:5] == ["admit", "body", "parse", "pictures", "accept"]
        assert list(stages)[-1] == last
        assert all(took >= 0 for took in stages.values())
    assert stages["wait"] >= 100


async def test_who_waits_hears_of_a_failure_and_of_a_cancel(service: Service) -> None:
    asked = asyncio.create_task(answer(service, {"Prefer": "wait=30"}))
    await asyncio.wait_for(service.arrived.wait(), 10)
    await service.post(f"/mj/task/{service.accepted[0].id}/cancel", {})
    task = (await asyncio.wait_for(asked, 10))["task"]
    assert (task["status"], task["failReason"]) == ("FAILURE", CANCELLED)


async def test_who_waits_in_vain_gets_the_task_as_it_is(service: Service) -> None:
    started = time.monotonic()
    body = await answer(service, {}, options={"wait": 0.3})
    assert 0.3 <= time.monotonic() - started < 5
    assert (body["code"], body["task"]["status"], body["task"]["progress"]) == (1, "NOT_START", "0%")


async def test_who_waits_is_told_of_the_task_although_the_database_goes_away(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.create_task(answer(service, {"Prefer": "wait=60"}))
    await asyncio.wait_for(service.arrived.wait(), 10)
    seen, looked = service.store.unfinished_among, asyncio.Event()

    async def away(ids: Sequence[str]) -> set[str]:
        looked.set()
        raise DatabaseUnavailable("PostgreSQL: ConnectionRefusedError")

    monkeypatch.setattr(service.store, "unfinished_among", away)
    await asyncio.wait_for(looked.wait(), 10)
    monkeypatch.setattr(service.store, "unfinished_among", seen)
    id = service.accepted[0].id
    await service.finish(id, sample(9))
    body = await asyncio.wait_for(asked, 10)
    assert (body["code"], body["result"], body["task"]["status"]) == (1, id, "SUCCESS")


async def test_who_waits_for_a_task_that_is_deleted_is_answered(service: Service) -> None:
    asked = asyncio.create_task(answer(service, {"Prefer": "wait=60"}))
    await asyncio.wait_for(service.arrived.wait(), 10)
    await service.client.delete(f"/mj/task/{service.accepted[0].id}")
    assert (await asyncio.wait_for(asked, 10))["result"] == service.accepted[0].id


async def test_all_who_wait_share_a_look_and_it_comes_when_a_task_has_ended(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LOOK_S", 60.0)
    looks, seen, watching = list[int](), service.store.unfinished_among, watch.Watch(service.store)

    async def look(ids: Sequence[str]) -> set[str]:
        looks.append(len(ids))
        return await seen(ids)

    monkeypatch.setattr(service.store, "unfinished_among", look)
    for _ in range(3):
        await service.submit()
    first, second, third = service.accepted
    waiting = [asyncio.create_task(watching.ended(task, 30)) for task in (first, second, third)]
    await asyncio.sleep(0)
    for task, left in ((first, 3), (second, 2), (third, 1)):
        if task is third:
            await service.client.delete(f"/mj/task/{task.id}")
        else:
            await service.finish(task.id, sample(9))
        watching.wake()
        await asyncio.wait_for(waiting[service.accepted.index(task)], 10)
        assert looks[-1] == left
    assert looks == [3, 2, 1]
    assert [one.result().status for one in waiting] == ["SUCCESS", "SUCCESS", "NOT_START"]


async def test_where_too_many_wait_the_others_are_answered_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_WAITERS", 2)
    waiting = [asyncio.create_task(answer(service, {"Prefer": "wait=60"})) for _ in range(2)]
    async with asyncio.timeout(10):
        while len(service.accepted) < 2:
            service.arrived.clear()
            await service.arrived.wait()
    body = await asyncio.wait_for(answer(service, {"Prefer": "wait=60"}), 5)
    assert (body["code"], body["task"]["status"]) == (1, "NOT_START")
    for task in service.accepted[:2]:
        await service.post(f"/mj/task/{task.id}/cancel", {})
    for one in waiting:
        assert (await asyncio.wait_for(one, 10))["task"]["status"] == "FAILURE"
    assert "task" in await asyncio.wait_for(answer(service, {}, options={"wait": 0.01}), 5)


@pytest.mark.parametrize("prefer", ["", "return=minimal", "wait", "wait=", "wait=abc", "wait=0", "xwait=5", "await=5"])
async def test_who_does_not_ask_to_wait_does_not(service: Service, prefer: str) -> None:
    assert "task" not in await asyncio.wait_for(answer(service, {"Prefer": prefer}), 5)


async def test_a_refused_submit_does_not_wait(service: Service) -> None:
    body = await asyncio.wait_for(answer(service, {"Prefer": "wait=60"}, state=5), 5)
    assert (body["code"], "task" in body) == (4, False)


async def test_a_repetition_gets_the_first_answer(service: Service) -> None:
    first = await answer(service, KEY)
    rows, files = service.rows(), set(service.stored())
    again = await answer(service, KEY)
    assert (again["code"], again["result"], again["description"]) == (1, first["result"], "提交成功")
    # Another spelling of the same pictures is the same request.
    spelt = await answer(service, {"idempotency-key": '"order-4711/1"'}, sourceBase64=data_url(sample(0), "image/jpeg"))
    assert spelt["result"] == first["result"]
    assert (service.rows(), set(service.stored())) == (rows, files)
    await service.finish(first["result"], sample(9))
    waited = await answer(service, {**KEY, "Prefer": "wait=5"})
    assert (waited["result"], waited["task"]["status"]) == (first["result"], "SUCCESS")


@pytest.mark.parametrize(
    "members",
    [
        {"sourceBase64": data_url(sample(3))},
        {"targetBase64": data_url(sample(3))},
        {"state": "other"},
        {"notifyHook": "https://other.example/"},
        {"accountFilter": {"instanceId": "62"}},
    ],
)
async def test_another_request_with_the_same_key_is_refused(service: Service, members: dict[str, object]) -> None:
    first = await answer(service, KEY)
    rows, files = service.rows(), len(service.stored())
    other = await answer(service, KEY, **members)
    assert (other["code"], other["description"], other["result"]) == (4, "幂等键已用于其他请求", None)
    assert other["properties"]["field"] == "Idempotency-Key"
    assert (service.rows(), len(service.stored())) == (rows, files)
    assert (await answer(service, KEY))["result"] == first["result"]


async def test_many_repetitions_at_once_make_one_task(service: Service) -> None:
    bodies = await asyncio.gather(*(answer(service, KEY) for _ in range(12)))
    assert {body["code"] for body in bodies} == {1}
    assert len({body["result"] for body in bodies}) == 1
    assert await service.store.count_waiting() == 1
    assert len(service.stored()) == 2


@pytest.mark.parametrize("key", ["a b", "x" * 256, "a\tb", "Größe"])
async def test_a_bad_idempotency_key(service: Service, key: str) -> None:
    response = await service.client.post(SWAP, json=swap_body(), headers=[(b"idempotency-key", key.encode())])
    assert response.status_code == 200
    assert response.json()["description"] == "校验错误: Idempotency-Key"
    assert service.rows() == len(service.stored()) == 0


async def test_a_blank_idempotency_key_is_none(service: Service) -> None:
    assert (await answer(service, {"Idempotency-Key": " "}))["result"] != (await answer(service, {"Idempotency-Key": ""}))["result"]


async def test_a_repetition_needs_no_room(make_service: MakeService) -> None:
    service = await make_service(bounds=Bounds(1))
    first = await answer(service, KEY)
    assert (await service.submit())["code"] == 23
    assert (await answer(service, {"Idempotency-Key": "another"}))["code"] == 23
    assert (await answer(service, KEY))["result"] == first["result"]
    assert len(service.stored()) == 2


async def test_a_repetition_needs_no_picture(make_service: MakeService) -> None:
    service = await make_service(egress=Egress(POLICY, resolver=Names(NAMES)))
    site = Site(0, {"/face.png": sample(5)})
    async with website(site.answer) as site.port:
        first = await answer(service, KEY, sourceBase64=LEFT_OUT, sourceUrl=site.url())
        site.files.clear()
        again = await answer(service, KEY, sourceBase64=LEFT_OUT, sourceUrl=site.url())
        assert (again["code"], again["result"]) == (1, first["result"])
        other = await answer(service, KEY, sourceBase64=LEFT_OUT, sourceUrl=site.url("/other.png"))
        assert other["description"] == "幂等键已用于其他请求"
        assert site.asked == ["/face.png"]


@pytest.mark.parametrize("by", ["body", "url"])
async def test_pictures_of_clients_that_left_have_room_until_they_are_written(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """A store that hangs does not let clients that come and go fill the memory."""
    limits = DefaultLimits(max_bodies_bytes=len(json.dumps(swap_body())) + 1_000)
    service = await make_service(egress=Egress(POLICY, resolver=Names(NAMES)), limits=limits)
    writing, go_on, put_inputs = asyncio.Event(), asyncio.Event(), service.blobs.put_inputs

    async def hang(id: str, source: bytes, target: bytes, more: Sequence[bytes]) -> None:
        writing.set()
        await go_on.wait()
        await put_inputs(id, source, target, more)

    monkeypatch.setattr(service.blobs, "put_inputs", hang)
    site = Site(0, {"/face.png": sample(5), "/target.png": sample(6)})
    async with website(site.answer) as site.port:
        urls = {"sourceBase64": LEFT_OUT, "targetBase64": LEFT_OUT, "sourceUrl": site.url(), "targetUrl": site.url("/target.png")}
        body = swap_body(**(urls if by == "url" else {}))
        client = asyncio.create_task(service.post(body=body))
        await asyncio.wait_for(writing.wait(), 10)
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
        writing.clear()
        another = asyncio.create_task(service.post(body=body))
        hangs = asyncio.create_task(writing.wait())
        await asyncio.wait([another, hangs], return_when=asyncio.FIRST_COMPLETED)
        go_on.set()
        hangs.cancel()
        refused = await another
        assert (refused.status_code, refused.json()["code"]) == (503, 23)
        async with asyncio.timeout(10):
            while (await service.post(body=body)).status_code != 200:
                await asyncio.sleep(0.01)
    assert service.rows() == 2
    assert len(service.stored()) == 4


async def test_the_limits_of_a_key(make_service: MakeService) -> None:
    service = await make_service()
    tokens = {}
    for name, daily, concurrent in (("daily", 1, None), ("concurrent", None, 1), ("free", None, None)):
        _, tokens[name] = await service.keys.create(name, daily=daily, concurrent=concurrent)
    headers = {name: {"mj-api-secret": token} for name, token in tokens.items()}
    first = {name: await answer(service, {**headers[name], **KEY}) for name in tokens}
    assert {body["code"] for body in first.values()} == {1}
    assert len({body["result"] for body in first.values()}) == 3  # each key has idempotency keys of its own
    files = len(service.stored())
    over = await answer(service, headers["daily"])
    assert (over["code"], over["description"], over["result"]) == (4, "今日绘图次数已达上限", None)
    over = await answer(service, headers["concurrent"])
    assert (over["code"], over["description"], over["result"]) == (23, "进行中的任务已达上限，请稍后尝试", None)
    assert len(service.stored()) == files
    assert (await answer(service, headers["free"]))["code"] == 1
    for name in tokens:  # a repetition costs nothing
        assert (await answer(service, {**headers[name], **KEY}))["result"] == first[name]["result"]
    await service.client.post(f"/mj/task/{first['concurrent']['result']}/cancel", headers=headers["concurrent"])
    assert (await answer(service, headers["concurrent"]))["code"] == 1


async def test_too_many_submits_a_minute(make_service: MakeService) -> None:
    service = await make_service(secret="key", rates=DefaultRates(submits_per_key="2/day"))
    headers = {"mj-api-secret": "key"}
    for _ in range(2):
        assert (await answer(service, headers))["code"] == 1
    limited = await service.post(headers=headers)
    assert (limited.status_code, limited.json()["code"], limited.json()["result"]) == (429, 23, None)
    assert int(limited.headers["retry-after"]) > 0
    assert (await service.client.get("/mj/task/list", headers=headers)).status_code == 200  # only submits are counted


async def test_a_full_queue_takes_nothing(make_service: MakeService) -> None:
    service = await make_service(bounds=Bounds(2))
    for _ in range(2):
        await service.submit()
    rows = service.rows()
    response = await service.post()
    body = response.json()
    assert (response.status_code, body["code"], body["description"], body["result"]) == (200, 23, "队列已满，请稍后尝试", None)
    assert response.headers["retry-after"] == "5"
    assert (service.rows(), len(service.stored())) == (rows, 4)
    task = await service.store.claim("test", 30)
    assert (await service.submit())["code"] == 23, "what is worked on is not finished"
    assert task is not None
    assert await service.store.fail(task, "no face", {})
    assert (await service.submit())["code"] == 1


async def test_a_full_queue_is_told_before_the_body_is_read(make_service: MakeService) -> None:
    service = await make_service(bounds=Bounds(1))
    await service.submit()

    asked: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        asked.append(b"{")
        yield asked[-1]

    assert (await service.client.post(SWAP, content=body())).json()["code"] == 23
    assert not asked


async def test_one_key_does_not_get_all_of_the_room(make_service: MakeService) -> None:
    service = await make_service(bounds=Bounds(5, key_share=0.8))
    tokens = [(await service.keys.create(name))[1] for name in ("greedy", "other")]
    greedy, other = ({"mj-api-secret": token} for token in tokens)
    assert [(await answer(service, greedy))["code"] for _ in range(5)] == [1, 1, 1, 1, 23]
    over = await answer(service, greedy)
    assert (over["description"], over["result"]) == ("进行中的任务已达上限，请稍后尝试", None)
    assert len(service.stored()) == 8
    assert [(await answer(service, other))["code"] for _ in range(2)] == [1, 23]
    assert (await answer(service, other))["description"] == "队列已满，请稍后尝试"


async def test_the_hook_of_the_request_goes_before_the_global_one(make_service: MakeService) -> None:
    service = await make_service(notify_hook="https://global.example/hook")
    await service.submit(notifyHook="HTTP://user:pass@own.example:8080/hook?token=1")
    await service.submit(notifyHook=" ")
    assert [task.notify_hook for task in service.accepted] == [
        "HTTP://user:pass@own.example:8080/hook?token=1",
        "https://global.example/hook",
    ]
