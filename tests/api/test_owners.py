"""Two keys: on no route does one see, list, end or delete anything of the other's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from starlette.routing import Route

from tests.api.support import MakeService, Service, sample


@dataclass
class Two:
    service: Service
    mine: dict[str, str]
    theirs: dict[str, str]
    waiting: str
    done: str

    async def ask(self, headers: dict[str, str], method: str, path: str, body: object = None) -> Any:
        response = await self.service.client.request(method, path, json=body, headers=headers)
        return response.status_code, response.json() if response.content else None


@pytest.fixture
async def two(make_service: MakeService) -> Two:
    """The first key has a finished task and one that waits; the second has nothing."""
    service = await make_service()
    tokens = [(await service.keys.create(name, concurrent=5))[1] for name in ("first", "second")]
    mine, theirs = ({"mj-api-secret": token} for token in tokens)
    done = (await service.post(headers=mine)).json()["result"]
    await service.finish(done, sample(9))
    waiting = (await service.post(headers=mine)).json()["result"]
    return Two(service, mine, theirs, waiting, done)


ONE = [
    ("GET", "/mj/task/{id}/fetch", 3),
    ("POST", "/mj/task/{id}/cancel", 3),
    ("GET", "/mj/task/{id}/image-seed", 3),
    ("DELETE", "/mj/task/{id}", 3),
    ("GET", "/mj/task-admin/{id}/fetch", 4),
    ("GET", "/mj/task-admin/hooks/{id}", 4),
]
SEVERAL = [
    ("POST", "/mj/task/list-by-condition", {"ids": ["{waiting}", "{done}"]}),
    ("POST", "/mj/task/list-by-ids", {"ids": ["{waiting}", "{done}"]}),
    ("GET", "/mj/task/queue", None),
    ("GET", "/mj/task/list", None),
    ("POST", "/mj/task/query", {}),
    ("POST", "/mj/task/query", {"ids": ["{waiting}", "{done}"]}),
    ("POST", "/mj/task/query", {"id": "{done}", "status": "SUCCESS"}),
    ("POST", "/mj/task/query", {"description": "/swap"}),
]


@pytest.mark.parametrize(("method", "path", "code"), ONE)
async def test_a_task_of_another(two: Two, method: str, path: str, code: int) -> None:
    for id in (two.waiting, two.done):
        before = await two.ask(two.mine, "GET", f"/mj/task/{id}/fetch")
        status, body = await two.ask(two.theirs, method, path.replace("{id}", id))
        unknown = await two.ask(two.theirs, method, path.replace("{id}", "1724000000000123"))
        assert (status, body["code"], body["result"]) == ({3: 404, 4: 403}[code], code, None)
        assert (status, body) == unknown  # not even that it exists
        assert await two.ask(two.mine, "GET", f"/mj/task/{id}/fetch") == before
    assert len(two.service.stored()) == 5


@pytest.mark.parametrize(("method", "path", "body"), SEVERAL)
async def test_a_list_of_anothers(two: Two, method: str, path: str, body: Any) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(one) for one in value]
        return value.format(waiting=two.waiting, done=two.done) if isinstance(value, str) else value

    body = body and {name: filled(value) for name, value in body.items()}
    _, found = await two.ask(two.theirs, method, path, body)
    _, own = await two.ask(two.mine, method, path, body)
    if isinstance(found, dict):
        assert found["totalElements"] == 0
        found, own = found["content"], own["content"]
    assert found == []
    assert own


async def test_every_route_is_looked_at(two: Two) -> None:
    looked = {(method, path) for method, path, _ in ONE} | {(method, path) for method, path, _ in SEVERAL}
    others = {("POST", "/mj/insight-face/swap"), ("POST", "/mj/task-admin/query"), ("GET", "/mj/image/{name}")}
    others |= {("GET", "/mj/task-admin/hooks"), ("POST", "/mj/task-admin/hooks/resend")}  # test_hooks.py
    others |= {("POST", "/mj/insight-face/detect")}  # keeps nothing
    routes = [route for route in two.service.app.routes if isinstance(route, Route) and route.path.startswith("/mj/")]
    assert {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}} == looked | others


async def test_the_pages_of_everybody_are_for_admins(two: Two) -> None:
    assert (await two.ask(two.theirs, "POST", "/mj/task-admin/query", {}))[0] == 403
    _, token = await two.service.keys.create("admin", role="admin")
    status, found = await two.ask({"mj-api-secret": token}, "POST", "/mj/task-admin/query", {})
    assert (status, [task["id"] for task in found["content"]]) == (200, [two.waiting, two.done])
    assert (await two.ask({"mj-api-secret": token}, "GET", f"/mj/task-admin/{two.done}/fetch"))[0] == 200
    # What is not an admin's own is still not on the routes of everybody.
    assert (await two.ask({"mj-api-secret": token}, "DELETE", f"/mj/task/{two.done}"))[0] == 404


async def test_a_submit_of_one_says_nothing_of_the_other(two: Two) -> None:
    headers = {"Idempotency-Key": "same"}
    mine = (await two.service.post(headers={**two.mine, **headers})).json()["result"]
    theirs = (await two.service.post(headers={**two.theirs, **headers})).json()["result"]
    assert mine != theirs
    assert (await two.ask(two.mine, "GET", f"/mj/task/{theirs}/fetch"))[0] == 404


async def test_a_key_made_later_does_not_see_what_was_open(make_service: MakeService) -> None:
    service = await make_service()
    id = (await service.submit())["result"]
    _, token = await service.keys.create("")
    response = await service.client.get(f"/mj/task/{id}/fetch", headers={"mj-api-secret": token})
    assert response.status_code == 404
