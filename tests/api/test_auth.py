"""api/auth.py: with a key in place nothing under /mj but the pictures is open, under any prefix; without one only this machine may ask."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx2
import pytest
from starlette.routing import Route

from serve_app.api.app import ApiConfig
from serve_app.api.config import DefaultRates
from serve_app.tasks.keys import KeyRing
from tests.api.support import SWAP, MakeService, Service, served, swap_body

LIST = "/mj/task/list-by-condition"
SECRET = "k3y mit Größe"
WRONG: list[dict[str, str]] = [
    {},
    {"mj-api-secret": "wrong"},
    {"authorization": "Bearer"},
    {"authorization": ""},
    {"x-ptoken": "key"},
    {"authorization": "keykey"},
    {"authorization": "Basic key"},
]


def guarded(service: Service) -> list[tuple[str, str]]:
    """Every route that needs a key, and one that is none."""
    routes = [route for route in service.app.routes if isinstance(route, Route) and route.path.startswith("/mj/")]
    closed = [route for route in routes if route.path != "/mj/image/{name}"]
    return [(method, route.path.replace("{id}", "1")) for route in closed for method in route.methods or ()] + [("GET", "/mj/nope")]


def unauthorized(response: httpx2.Response) -> bool:
    """The whole answer: browsers print `error`, relays decode the rest."""
    body = response.json()
    assert (response.status_code, body["code"], body["description"], body["error"]) == (401, 4, "Unauthorized", "Unauthorized")
    assert (body["result"], list(body["properties"])) == (None, ["reason"])
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/json"
    return True


def code(response: httpx2.Response) -> tuple[int, int]:
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("prefix", ["", "/mj-fast", "/mj-relax", "/mj-turbo", "/mj", "/"])
async def test_no_route_is_open(make_service: MakeService, prefix: str) -> None:
    service = await make_service(secret="key", rates=DefaultRates(wrong_keys=None))
    asked = guarded(service)
    assert len(asked) > 15
    for method, path in asked:
        for headers in WRONG:
            response = await service.client.request(method, f"http://swap.test{prefix}{path}", headers=headers)
            assert method == "HEAD" or unauthorized(response), path
            assert response.status_code == 401, path
    assert unauthorized(await service.post(f"http://swap.test{prefix}{SWAP}"))
    assert service.rows() == len(service.stored()) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"mj-api-secret": "key"},
        {"Mj-Api-Secret": "Bearer key"},
        {"Authorization": "key"},
        {"Authorization": "Bearer key"},
        {"authorization": "bearer   key "},
        {"mj-api-secret": "key", "authorization": "key"},
        {"mj-api-secret": "wrong", "authorization": "Bearer key"},
        {"mj-api-secret": "key", "authorization": "Bearer sk-of-another-service"},
    ],
)
async def test_with_the_secret(make_service: MakeService, headers: dict[str, str]) -> None:
    service = await make_service(secret="key")
    assert code(await service.post(headers=headers)) == (200, 1)
    assert [task.owner for task in service.accepted] == ["secret"]
    assert code(await service.post("/mj/task/1/cancel", headers=headers)) == (404, 3)
    assert (await service.post("/mj/task-admin/query", {}, headers)).json()["totalElements"] == 1


async def test_a_secret_with_blanks_and_letters_of_any_language(make_service: MakeService) -> None:
    service = await make_service(secret=SECRET)
    for value in (SECRET.encode(), b"Bearer " + SECRET.encode()):
        response = await service.client.post(LIST, content=b"{}", headers=[(b"mj-api-secret", value)])
        assert (response.status_code, response.json()) == (200, [])


async def test_keys_of_both_roles(make_service: MakeService) -> None:
    service = await make_service()
    user, user_token = await service.keys.create("a user")
    admin, admin_token = await service.keys.create("an admin", role="admin")
    for token in (user_token, admin_token):
        assert code(await service.post(headers={"authorization": f"Bearer {token}"})) == (200, 1)
    assert [task.owner for task in service.accepted] == [user.id, admin.id]
    id = service.accepted[0].id
    for method, path in (("POST", "/mj/task-admin/query"), ("GET", f"/mj/task-admin/{id}/fetch")):
        refused = await service.client.request(method, path, json={}, headers={"mj-api-secret": user_token})
        assert (code(refused), refused.json()["description"], refused.json()["error"]) == ((403, 4), "您无权限访问", "Forbidden")
        allowed = await service.client.request(method, path, json={}, headers={"mj-api-secret": admin_token})
        assert allowed.status_code == 200
    # The admin's own lists are its own; everybody's are on the admin's routes.
    own = await service.client.get("/mj/task/list", headers={"mj-api-secret": admin_token})
    assert [task["id"] for task in own.json()] == [service.accepted[1].id]


async def test_a_revoked_key(make_service: MakeService) -> None:
    service = await make_service()
    key, token = await service.keys.create("")
    headers = {"mj-api-secret": token}
    assert (await service.post(LIST, {}, headers)).status_code == 200
    await service.keys.revoke(key.id)
    refused = await service.post(headers=headers)
    assert (code(refused), refused.json()["description"], refused.json()["error"]) == ((403, 4), "账号已禁用", "Forbidden")
    assert "revoked" in refused.json()["properties"]["reason"]
    assert service.rows() == 0
    assert unauthorized(await service.post())  # a service whose keys are all revoked is closed, not open


async def test_an_expired_key(make_service: MakeService) -> None:
    service = await make_service()
    _, token = await KeyRing(service.database, lambda: 1_000).create("", expires=2_000)
    refused = await service.post(headers={"authorization": token})
    assert (code(refused), refused.json()["description"]) == ((403, 4), "账号已过期")
    english = await service.post(headers={"authorization": token, "language": "en"})
    assert english.json()["description"] == "This key has expired"


async def test_a_good_key_beside_one_that_is_not(make_service: MakeService) -> None:
    service = await make_service()
    old, old_token = await service.keys.create("old")
    _, token = await service.keys.create("new")
    await service.keys.revoke(old.id)
    assert code(await service.post(headers={"mj-api-secret": old_token, "authorization": f"Bearer {token}"})) == (200, 1)


async def test_keys_cannot_be_guessed(make_service: MakeService) -> None:
    service = await make_service(secret="key", rates=DefaultRates(wrong_keys="3/day"))
    _, token = await service.keys.create("")
    right = {"mj-api-secret": token}
    assert (await service.post(LIST, {}, right)).status_code == 200
    assert unauthorized(await service.post(LIST, {}))  # nothing shown is nothing guessed
    for number in range(3):
        assert unauthorized(await service.post(LIST, {}, {"mj-api-secret": f"guess {number}"}))
    limited = await service.post(LIST, {}, {"mj-api-secret": "key"})
    assert (code(limited), limited.json()["description"]) == ((429, 23), "请求过于频繁，请稍后尝试")
    assert int(limited.headers["retry-after"]) > 0
    # Who was right before stays in, also with a wrong key in the other header.
    for headers in (right, {"authorization": token, "mj-api-secret": "sk-of-another-service"}):
        assert (await service.post(LIST, {}, headers)).status_code == 200


async def test_one_request_is_no_place_to_try_many_keys(make_service: MakeService) -> None:
    service = await make_service(secret="key")
    many = [(b"authorization", b"guess %d" % number) for number in range(500)] + [(b"authorization", b"key")]
    assert unauthorized(await service.client.post(LIST, content=b"{}", headers=many))


@pytest.mark.parametrize("secret", [None, "", "  "])
async def test_no_key_is_open_when_the_operator_says_so(make_service: MakeService, secret: str | None) -> None:
    service = await make_service(secret=secret)
    assert (await service.submit())["code"] == 1
    assert (await service.post("/mj/task-admin/query", {})).status_code == 200


@pytest.mark.parametrize(
    ("address", "open"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.1.2.3", True),
        ("http://[::1]:8000", True),
        ("http://localhost", True),
        ("http://10.1.2.3", False),
        ("http://203.0.113.5:8000", False),
        ("http://[2001:db8::1]", False),
        ("http://swap.test", False),
        ("http://localhost.example", False),
    ],
)
async def test_without_a_key_only_this_machine_may_ask(make_service: MakeService, address: str, open: bool) -> None:
    service = await make_service(allow_open=False)
    # What a client says of where it is and whom it asks does not count.
    for headers in ({}, {"host": "127.0.0.1:8000"}, {"x-forwarded-for": "127.0.0.1", "x-forwarded-host": "127.0.0.1"}):
        response = await service.client.post(address + LIST, json={}, headers=headers)
        if open:
            assert response.json() == []
        else:
            assert unauthorized(response)
            assert "faceswap key create" in response.json()["properties"]["reason"]
    assert (await service.client.get(address + "/health")).status_code == 200


async def test_the_first_key_closes_an_open_service(make_service: MakeService) -> None:
    service = await make_service(allow_open=False)
    async with served(service.app) as url, httpx2.AsyncClient(base_url=url) as client:
        assert (await client.post(SWAP, json=swap_body())).json()["code"] == 1
        _, token = await service.keys.create("")
        assert unauthorized(await client.post(SWAP, json=swap_body()))
        assert (await client.post(SWAP, json=swap_body(), headers={"mj-api-secret": token})).json()["code"] == 1


async def test_health_pictures_and_docs_are_open(make_service: MakeService) -> None:
    service = await make_service(secret="key")
    for path in ("/health", "/ready", "/openapi.json", "/docs"):
        assert (await service.client.get(path)).status_code == 200
    for path in ("/mj/image/nope.png", "/mj-fast/mj/image/nope.png"):
        assert (await service.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    "path", ["/mj/image/../task/list", "/mj/image/%2e%2e/task/list", "/mj/image/..%2ftask%2flist", "/mj/image/x/mj/task/list"]
)
async def test_no_path_leads_around_the_key(make_service: MakeService, path: str) -> None:
    service = await make_service(secret="key")
    async with served(service.app) as url:
        reply = await raw(url, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert reply.split(b" ")[1] in (b"401", b"404")
    assert b'"code"' in reply


async def raw(url: str, request: str) -> bytes:
    """Send a request as it stands, which no client library tidies up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(request.encode())
    reply = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return reply


@pytest.mark.parametrize("secret", [None, "key"])
async def test_a_lost_table_of_keys_is_no_fault_of_the_key(
    make_service: MakeService, secret: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    service = await make_service(secret=secret)
    service.drop("keys")
    response = await service.post(LIST, {}, {"mj-api-secret": "fs-private-words"})
    assert code(response) == (503, 9)
    assert response.headers["retry-after"]
    assert "private-words" not in caplog.text
    if secret:  # it needs no table
        assert (await service.post(LIST, {}, {"mj-api-secret": "key"})).json() == []


def test_the_secret_is_not_in_what_is_printed() -> None:
    config: Any = ApiConfig(secret="hunter2", notify_hook="https://hook/?hunter2")
    assert "hunter2" not in repr(config)
