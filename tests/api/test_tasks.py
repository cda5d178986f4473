"""api/tasks.py and api/search.py: fetch, lists, pages, cancel, delete, seeds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serve_app.tasks.reasons import CANCELLED
from serve_app.tasks.task import Task
from tests.api.support import SWAP, MakeService, Service, sample, swap_body

PREFIXES = ["", "/mj-fast", "/mj-relax", "/mj-turbo"]
LISTS = ["/mj/task/list-by-condition", "/mj/task/list-by-ids"]
LIST = LISTS[0]
QUERY = "/mj/task/query"


def ids(tasks: Any) -> list[str]:
    return [task["id"] for task in tasks]


async def submitted(service: Service, count: int, **members: object) -> list[str]:
    return [(await service.submit(**members))["result"] for _ in range(count)]


async def failed(service: Service, id: str, reason: str = "no face was found") -> None:
    task = await service.store.claim("test", 30)
    assert task is not None
    assert task.id == id
    assert await service.store.fail(task, reason, {})


async def page(service: Service, path: str = QUERY, /, **members: Any) -> Any:
    response = await service.post(path, members)
    assert response.status_code == 200
    return response.json()


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_task_is_seen_under_every_prefix_with_the_mode_of_its_own(service: Service, prefix: str) -> None:
    id = (await service.post(prefix + SWAP)).json()["result"]
    seen = [await service.fetch(id, other) for other in PREFIXES]
    listed = [(await service.post(other + path, {"ids": [id]})).json() for other in PREFIXES for path in LISTS]
    assert all(body == seen[0] for body in seen)
    assert all(body == [seen[0]] for body in listed)
    assert seen[0]["mode"] == (prefix.removeprefix("/mj-").upper() or None)


async def test_the_stages_of_the_work_stand_on_the_answer_once_it_has_ended(service: Service) -> None:
    id = (await service.submit())["result"]
    assert "server-timing" not in (await service.client.get(f"/mj/task/{id}/fetch")).headers
    task = await service.store.claim("test", 30)
    assert task is not None
    assert await service.store.fail(task, "no face was found", {"stages": {"queue": 350.0, "decode": 14.8}})
    answer = await service.client.get(f"/mj/task/{id}/fetch")
    assert answer.headers["server-timing"] == "queue;dur=350, decode;dur=14.8"


async def test_an_unknown_task(service: Service) -> None:
    for id in ("1724000000000123", "nope", "None", "%00", "%E5%9B%BE", "x" * 5000):
        for method, path in (
            ("GET", f"/mj/task/{id}/fetch"),
            ("GET", f"/mj/task-admin/{id}/fetch"),
            ("POST", f"/mj/task/{id}/cancel"),
            ("DELETE", f"/mj/task/{id}"),
        ):
            response = await service.client.request(method, path)
            body = response.json()
            assert (response.status_code, body["code"], body["description"], body["result"]) == (404, 3, "任务不存在", None)


async def test_gets_with_a_content_type_and_a_body(service: Service) -> None:
    (id,) = await submitted(service, 1)
    for content in (b"null", b"{", b""):
        headers = {"content-type": "application/json"}
        response = await service.client.request("GET", f"/mj/task/{id}/fetch", content=content, headers=headers)
        assert response.json()["id"] == id


@pytest.mark.parametrize("path", LISTS)
async def test_lists_give_what_exists_each_once(service: Service, path: str) -> None:
    known = await submitted(service, 3)
    asked = [known[2], "nope", known[0], int(known[0]), f" {known[2]} ", None, 1.5, True, "", {"id": known[1]}, "9" * 500, -1]
    response = await service.post(path, {"ids": asked})
    assert response.status_code == 200
    assert sorted(ids(response.json())) == sorted([known[0], known[2]])
    assert all(task["displays"]["status"] == "NOT_START" for task in response.json())


@pytest.mark.parametrize("body", [b'{"ids":[]}', b"{}", b'{"ids":null}', b"null", b"[]", b"", b" ", b'{"ids":["nope"]}', b'{"other":[1]}'])
async def test_an_empty_list(service: Service, body: bytes) -> None:
    await service.submit()
    for path in LISTS:
        response = await service.client.post(path, content=body)
        assert (response.status_code, response.json()) == (200, [])


async def test_a_list_of_many_ids(service: Service) -> None:
    (id,) = await submitted(service, 1)
    others = [str(number) for number in range(9_999)]
    assert ids((await service.post(LIST, {"ids": [*others, id]})).json()) == [id]
    too_many = await service.post(LIST, {"ids": [*others, id, "1"]})
    assert (too_many.status_code, too_many.json()["code"], too_many.json()["properties"]["field"]) == (200, 4, "ids")


@pytest.mark.parametrize("body", [b"{", b'{"ids":"1"}', b'{"ids":{"a":1}}', b"5", b'"x"', b"\xff"])
async def test_a_bad_list_request(service: Service, body: bytes) -> None:
    response = await service.client.post(LIST, content=body)
    assert (response.status_code, response.json()["code"], response.json()["result"]) == (200, 4, None)


@pytest.mark.parametrize("path", [*LISTS, QUERY, "/mj/task-admin/query"])
async def test_a_list_request_of_a_megabyte(service: Service, path: str) -> None:
    response = await service.client.post(path, content=b'{"ids":[' + b" " * 1_000_000 + b"]}")
    assert (response.status_code, response.json()["code"]) == (413, 4)


async def test_the_queue_has_what_waits_and_what_is_worked_on(service: Service) -> None:
    known = await submitted(service, 4)
    await service.finish(known[0], sample(9))
    await failed(service, known[1])
    task = await service.store.claim("test", 30)
    assert task is not None
    await service.store.advance(task, 40)
    queue = (await service.client.get("/mj/task/queue")).json()
    assert ids(queue) == known[2:]  # oldest first
    assert [task["status"] for task in queue] == ["IN_PROGRESS", "NOT_START"]
    assert ids((await service.client.get("/mj/task/list")).json()) == known[::-1]  # newest first


async def test_the_list_has_the_newest_hundred(service: Service) -> None:
    known = await submitted(service, 103)
    assert ids((await service.client.get("/mj/task/list")).json()) == known[:2:-1]
    assert ids((await service.client.get("/mj/task/queue")).json()) == known


async def test_lists_of_nothing(service: Service) -> None:
    for path in ("/mj/task/queue", "/mj/task/list"):
        response = await service.client.get(path)
        assert (response.status_code, response.json()) == (200, [])
    found = await page(service)
    assert (found["content"], found["totalElements"], found["totalPages"]) == ([], 0, 0)
    assert (found["empty"], found["first"], found["last"]) == (True, True, True)


async def test_pages(service: Service) -> None:
    known = await submitted(service, 5)
    found = [await page(service, pageNumber=number, pageSize=2, sort="submitTime,desc") for number in range(4)]
    assert [ids(one["content"]) for one in found] == [known[:2:-1], [known[2], known[1]], [known[0]], []]
    assert [(one["first"], one["last"], one["empty"]) for one in found] == [
        (True, False, False),
        (False, False, False),
        (False, True, False),
        (False, True, True),
    ]
    assert [one["numberOfElements"] for one in found] == [2, 2, 1, 0]
    order = {"empty": False, "sorted": True, "unsorted": False}
    assert {name: value for name, value in found[1].items() if name != "content"} == {
        "empty": False,
        "first": False,
        "last": False,
        "number": 1,
        "numberOfElements": 2,
        "pageable": {"offset": 2, "pageNumber": 1, "pageSize": 2, "paged": True, "unpaged": False, "sort": order},
        "size": 2,
        "sort": order,
        "totalElements": 5,
        "totalPages": 3,
    }
    assert found[0]["content"][0] == await service.fetch(known[4])


@pytest.mark.parametrize("path", [QUERY, "/mj/task-admin/query"])
async def test_what_a_query_filters_by(service: Service, path: str) -> None:
    one, two, three, four = await submitted(service, 3, state="room:user") + await submitted(service, 1, accountFilter={"instanceId": "61"})
    await service.finish(one, sample(9))
    await failed(service, two, "no face was found in the target")
    queries: list[tuple[dict[str, object], list[str]]] = [
        ({}, [four, three, two, one]),
        ({"sort": "id,asc"}, [one, two, three, four]),
        ({"sort": "submitTime"}, [one, two, three, four]),
        ({"sort": "finishTime,desc", "statusSet": ["SUCCESS", "FAILURE"]}, [two, one]),
        ({"status": "SUCCESS"}, [one]),
        ({"statusSet": ["SUCCESS", "MODAL"]}, [one]),
        ({"statusSet": []}, [four, three, two, one]),
        ({"status": "CANCEL"}, []),
        ({"statusSet": ["MODAL", "CANCEL"]}, []),
        ({"id": three}, [three]),
        ({"id": int(three)}, [three]),
        ({"ids": [one, int(two), "nope"]}, [two, one]),
        ({"ids": []}, [four, three, two, one]),
        ({"state": "room:user"}, [three, two, one]),
        ({"state": "room"}, []),
        ({"instanceId": "61"}, [four]),
        ({"instanceId": 61}, [four]),
        ({"failReason": "FACE"}, [two]),
        ({"description": f"/swap {four}"}, [four]),
        ({"prompt": "insight"}, [four, three, two, one]),
        ({"promptEn": "a cat"}, []),
        ({"action": "SWAP_FACE"}, [four, three, two, one]),
        ({"action": "IMAGINE"}, []),
        ({"status": "", "state": None, "failReason": "", "current": 1, "userId": "x"}, [four, three, two, one]),
        ({"description": "%"}, []),
        ({"state": "' OR 1=1 --"}, []),
    ]
    for members, expected in queries:
        found = (await service.post(path, members)).json()
        assert ids(found["content"]) == expected, members
        assert found["totalElements"] == len(expected)


@pytest.mark.parametrize("content", [b"", b"null", b"{}"])
async def test_a_query_without_a_body_is_the_first_page(service: Service, content: bytes) -> None:
    known = await submitted(service, 12)
    response = await service.client.post(QUERY, content=content)
    assert ids(response.json()["content"]) == known[:1:-1]


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"pageNumber": -1}, "pageNumber"),
        ({"pageNumber": 10**9}, "pageNumber"),
        ({"pageSize": 0}, "pageSize"),
        ({"pageSize": 1001}, "pageSize"),
        ({"pageSize": "10"}, "pageSize"),
        ({"sort": "fingerprint,desc"}, "sort"),
        ({"sort": "id;drop table tasks"}, "sort"),
        ({"statusSet": "SUCCESS"}, "statusSet"),
        ({"ids": {"a": 1}}, "ids"),
        ({"state": 5}, "state"),
    ],
)
async def test_a_bad_query_is_refused_by_name(service: Service, members: dict[str, object], field: str) -> None:
    body = await page(service, **members)
    assert (body["code"], body["description"], body["properties"]["field"]) == (4, f"校验错误: {field}", field)


@pytest.mark.parametrize("content", [b"[]", b"5", b"{", b'"x"', b"\xff"])
async def test_a_query_that_is_no_object(service: Service, content: bytes) -> None:
    response = await service.client.post(QUERY, content=content)
    assert (response.status_code, response.json()["code"]) == (200, 4)


@pytest.mark.parametrize("member", ["description", "failReason", "prompt", "promptEn", "state"])
async def test_a_filter_that_is_too_long_is_no_fault_of_the_storage(service: Service, member: str) -> None:
    answer = await service.client.post("/mj/task/query", json={member: "a" * 60_000})
    assert (answer.status_code, answer.json()["code"], answer.json()["properties"]["field"]) == (200, 4, member)


@pytest.mark.parametrize("running", [False, True])
async def test_cancel(service: Service, running: bool) -> None:
    body = await service.submit(state="room:user", notifyHook="https://client.example/hook")
    id = body["result"]
    task = await service.store.claim("test", 30) if running else None
    response = await service.client.post(f"/mj-fast/mj/task/{id}/cancel", content=b"null")
    assert response.status_code == 200
    assert response.json() == {"code": 1, "description": "成功", "result": id, "properties": {}}
    seen = await service.fetch(id)
    assert (seen["status"], seen["failReason"], seen["progress"], seen["imageUrl"]) == ("FAILURE", CANCELLED, "", None)
    assert seen["submitTime"] <= seen["startTime"] <= seen["finishTime"]
    assert service.stored() == []
    if task is not None:  # its worker is told so, and cannot make a success of it
        assert not await service.store.succeed(task, f"{id}/r.png", f"{id}-x.png", {})
    assert await service.store.claim("test", 30) is None
    assert (await service.fetch(id))["status"] == "FAILURE"


async def test_a_cancel_that_comes_too_late(service: Service) -> None:
    done, lost, gone = await submitted(service, 3)
    await service.finish(done, sample(9))
    await failed(service, lost)
    await service.post(f"/mj/task/{gone}/cancel", {})
    for id in (done, lost, gone):
        before = await service.fetch(id)
        body = (await service.post(f"/mj/task/{id}/cancel", {})).json()
        assert (body["code"], body["description"], body["result"]) == (4, "任务已结束", None)
        assert before["status"] in body["properties"]["reason"]
        assert await service.fetch(id) == before


async def test_a_cancel_and_a_success_at_once_tell_one_story(service: Service) -> None:
    """Whoever is told that the task was cancelled never sees a picture, and the other way round."""
    for _ in range(15):
        (id,) = await submitted(service, 1)
        task = await service.store.claim("test", 30)
        assert isinstance(task, Task)
        await service.blobs.put(f"{id}/r.png", sample(5))
        answer, succeeded = await asyncio.gather(
            service.post(f"/mj/task/{id}/cancel", {}), service.store.succeed(task, f"{id}/r.png", f"{id}-x.png", {})
        )
        assert (answer.json()["code"] == 1) != succeeded
        assert ((await service.fetch(id))["status"] == "SUCCESS") == succeeded


@pytest.mark.parametrize("state", ["waiting", "working", "done", "failed"])
async def test_delete_leaves_nothing(service: Service, state: str) -> None:
    (id,) = await submitted(service, 1, notifyHook="https://client.example/hook")
    name = f"{id}-abcdefghijklmnopqrstuv.png"
    if state == "done":
        name = await service.finish(id, sample(9))
    elif state == "failed":
        await failed(service, id)
    elif state == "working":
        assert await service.store.claim("test", 30)
    response = await service.client.delete(f"/mj/task/{id}")
    assert response.status_code == 200
    assert response.json() == {"code": 1, "description": "删除成功", "result": id, "properties": {}}
    assert service.rows() == len(service.stored()) == 0
    assert (await service.client.get(f"/mj/task/{id}/fetch")).status_code == 404
    assert (await service.client.get(f"/mj/image/{name}")).status_code == 404
    assert (await service.client.delete(f"/mj/task/{id}")).status_code == 404


async def test_a_swap_has_no_seed(service: Service) -> None:
    (id,) = await submitted(service, 1)
    for content in (b"null", b""):  # a relay sends the word null
        headers = {"content-type": "application/json"}
        response = await service.client.request("GET", f"/mj/task/{id}/image-seed", content=content, headers=headers)
        body = response.json()
        assert (response.status_code, body["code"], body["description"], body["result"]) == (200, 4, "关联任务状态错误", None)
    unknown = await service.client.get("/mj/task/nope/image-seed")
    assert (unknown.status_code, unknown.json()["code"], unknown.json()["description"]) == (404, 3, "关联任务不存在或已失效")


async def test_pictures_are_linked_as_the_public_knows_us(make_service: MakeService) -> None:
    service = await make_service(public_url="https://faces.example/")
    (id,) = await submitted(service, 1)
    name = await service.finish(id, sample(9))
    url = f"https://faces.example/mj/image/{name}"
    assert (await service.fetch(id))["imageUrl"] == url
    assert (await page(service))["content"][0]["imageUrl"] == url
    waited = await service.post(SWAP, swap_body(options={"wait": 0.1}))
    assert waited.json()["task"]["imageUrl"] is None
