"""Two keys on one service: on every route there is, neither gets at anything of the other's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from serve_app.api.routes import routes
from serve_app.tasks.database import now_ms
from serve_app.tasks.keys import Key, KeyRing
from tests.pictures import data_url
from tests.service.client import DEADLINE_S, Client, send
from tests.service.contract.people import FACE, PHOTO, Person, hold, on_keys, picture_name, with_tasks
from tests.service.contract.shapes import PREFIXES, SWAP, UNKNOWN, accepted, refused

NOTHING: Any = SimpleNamespace(config=SimpleNamespace(public_url=None), store=None, blobs=None, hooks=None)
ENDS = ("DELETE", "/mj/task/{id}"), ("POST", "/mj/task/{id}/cancel")  # last, so that the others find what they look for
ROUTES = sorted(
    ((method, route.path) for route in routes(NOTHING, NOTHING) for method in route.methods or ()), key=lambda it: (it in ENDS, it)
)
OPEN = {"/mj/image/{name}", "/health", "/ready", "/openapi.json", "/docs", "/docs/{file}"}
GUARDED = [(method, path) for method, path in ROUTES if path not in OPEN]
ADMINS_ONLY = [(method, path) for method, path in ROUTES if "/task-admin/" in path]
SHOWS_ITS_OWNER = [  # and what of the two tasks
    ("GET", "/mj/task/{id}/fetch", {"done", "held"}),
    ("POST", "/mj/task/list-by-condition", {"done", "held"}),
    ("POST", "/mj/task/list-by-ids", {"done", "held"}),
    ("POST", "/mj/task/query", {"done", "held"}),
    ("GET", "/mj/task/list", {"done", "held"}),
    ("GET", "/mj/task/queue", {"held"}),
]
ENOUGH = 20  # answers in a row, so that each of the two replicas has given some
KNOWN_WITHIN_S = 5.0
SLACK_S = 1.0


@pytest.fixture(scope="module")
def keys(client: Client, data_dir: Path) -> dict[str, tuple[Key, str]]:
    """By name, with their tokens; the service knows all of them."""

    async def create(ring: KeyRing) -> dict[str, tuple[Key, str]]:
        return {
            "one": await ring.create("one"),
            "two": await ring.create("two"),
            "admin": await ring.create("admin", "admin"),
            "revoked": await ring.create("revoked"),
            "daily": await ring.create("daily", daily=1),
            "concurrent": await ring.create("concurrent", concurrent=1),
            "closing": await ring.create("closing"),
        }

    async def revoke(ring: KeyRing) -> bool:
        return await ring.revoke(made["revoked"][0].id)

    made = on_keys(data_dir, create)
    assert on_keys(data_dir, revoke)
    yesterday = now_ms() - 24 * 3600 * 1000
    made["expired"] = on_keys(data_dir, lambda ring: ring.create("expired", expires=yesterday + 1000), clock=lambda: yesterday)
    # The last that was made: the others are known with it.
    assert within(lambda: always(Client(client.base, made["expired"][1]), 403)) < KNOWN_WITHIN_S + SLACK_S
    return made


@pytest.fixture(scope="module")
def people(client: Client, data_dir: Path, keys: dict[str, tuple[Key, str]]) -> Iterator[dict[str, Person]]:
    found = {name: with_tasks(keys[name][0], Client(client.base, keys[name][1]), data_dir) for name in ("one", "two")}
    yield found
    for person in found.values():
        for task in (person.done, person.held):
            person.client.request("DELETE", f"/mj/task/{task['id']}")


@pytest.fixture(params=["one", "two"])
def person(request: pytest.FixtureRequest, people: dict[str, Person]) -> Person:
    return people[request.param]


@pytest.fixture
def stranger(person: Person, people: dict[str, Person]) -> Person:
    return next(other for other in people.values() if other is not person)


def within(answers: Callable[[], float]) -> float:
    """Seconds from now until then."""
    now = time.monotonic()
    return answers() - now


def always(client: Client, status: int) -> float:
    """When the first of many answers in a row with this status came."""
    deadline, since, count = time.monotonic() + DEADLINE_S, time.monotonic(), 0
    while count < ENOUGH:
        answer = client.request("POST", "/mj/task/list-by-condition", json={})
        if answer.status_code != status:
            assert time.monotonic() < deadline, answer.text
            since, count = time.monotonic(), 0
            time.sleep(0.05)
        else:
            count += 1
    return since


def asked(client: Client, method: str, path: str, owner: Person | None, task: str = UNKNOWN, **headers: str) -> httpx2.Response:
    """A request that names what belongs to the owner, or what belongs to nobody, in every place where it could be named."""
    word = owner.word if owner else ""
    body: dict[str, object] = {"ids": [task], "id": task, "state": f"{word} held", "pageSize": 1000}
    if path == SWAP:
        body = {"sourceBase64": data_url(FACE), "targetBase64": data_url(PHOTO), "state": "mine"}
    filled = path.format(id=task, name=f"{task}.png", file="start.js")
    return client.request(method, filled, json=body if method == "POST" else None, headers=headers)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nothing_of_one_key_is_shown_to_the_other_or_touched(person: Person, stranger: Person, method: str, path: str) -> None:
    before = person.tasks_now()
    for task in before:
        answer = asked(stranger.client, method, path, person, task["id"], **{"Idempotency-Key": person.submit_key})
        heard = answer.text + str(answer.headers)
        assert [mark for mark in person.marks if mark in heard] == []
        if "{id}" in path or "{name}" in path:
            assert answer.status_code in (403, 404)
            without = asked(stranger.client, method, path, None)
            assert answer.status_code == without.status_code, "it can be told from one that never was"
            assert answer.content == without.content
        if path == SWAP:
            assert stranger.client.finished(accepted(answer))["state"] == "mine"
    assert person.tasks_now() == before
    assert person.client.picture(person.done)


@pytest.mark.parametrize(("method", "path", "shown"), SHOWS_ITS_OWNER)
def test_its_own_key_is_shown_all_of_it(person: Person, method: str, path: str, shown: set[str]) -> None:
    """So that the test before cannot pass because nobody is shown anything."""
    for name, task in (("done", person.done), ("held", person.held)):
        body = {"ids": [task["id"]], "pageSize": 1000}
        answer = person.client.request(method, path.format(id=task["id"]), json=body if method == "POST" else None)
        assert answer.status_code == 200
        assert (task["id"] in answer.text) == (name in shown)


@pytest.mark.parametrize("path", ["/mj/task/list", "/mj/task/queue", "/mj/task/query"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_list_holds_the_tasks_of_its_key_alone(person: Person, prefix: str, path: str) -> None:
    method = "POST" if path.endswith("query") else "GET"
    answer = person.client.request(method, prefix + path, json={"pageSize": 1000} if method == "POST" else None).json()
    states = answer["content"] if method == "POST" else answer
    assert {str(state["state"]).removesuffix(" done").removesuffix(" held") for state in states} <= {person.word, "mine"}
    if method == "POST":
        assert answer["totalElements"] == len(states)


def test_only_its_own_key_repeats_a_submit(person: Person) -> None:
    answer = person.client.request(
        "POST",
        SWAP,
        json={"sourceBase64": data_url(FACE), "targetBase64": data_url(PHOTO), "state": person.done["state"]},
        headers={"Idempotency-Key": person.submit_key},
    )
    assert accepted(answer) == person.done["id"]


def test_only_its_own_key_cancels_and_deletes(person: Person, stranger: Person, data_dir: Path) -> None:
    task = hold(data_dir, person.client.base, person.key.id, person.word)
    for method, path in (("POST", f"/mj/task/{task}/cancel"), ("DELETE", f"/mj/task/{task}")):
        refused(stranger.client.request(method, path), 3, "任务不存在", 404)
    assert person.client.fetch(task)["status"] == "SUBMITTED"
    assert person.client.request("POST", f"/mj/task/{task}/cancel").json()["code"] == 1
    assert person.client.fetch(task)["failReason"] == "取消任务"
    assert person.client.request("DELETE", f"/mj/task/{task}").json()["code"] == 1
    refused(person.client.request("GET", f"/mj/task/{task}/fetch"), 3, "任务不存在", 404)


def test_a_deleted_picture_is_gone_for_everybody(person: Person) -> None:
    done = person.client.finished(person.client.submit(FACE, PHOTO, state="mine"))
    assert person.client.picture(done)
    assert person.client.request("DELETE", f"/mj/task/{done['id']}").json()["code"] == 1
    assert refused(send("GET", done["imageUrl"]), 3, "图片不存在", 404)


@pytest.mark.parametrize(
    "guess", ["{id}", "{id}.png", "{id}.jpg", "{id}-.jpg", "{id}-AAAAAAAAAAAAAAAAAAAAAA.jpg", "{short}", "{upper}", "{dots}"]
)
def test_a_picture_cannot_be_had_by_its_task(person: Person, stranger: Person, guess: str) -> None:
    name = picture_name(person.done)
    filled = guess.format(id=person.done["id"], short=name[:-5] + name[-4:], upper=name.swapcase(), dots=f"x%2f..%2f{name[:-4]}")
    for secret in (None, stranger.client.secret):
        answer = Client(person.client.base, secret).request("GET", f"/mj/image/{filled}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("prefix", [*PREFIXES, "/", "/mj", "/%6dj"])
def test_no_key_and_a_wrong_key_open_nothing(people: dict[str, Person], method: str, path: str, prefix: str) -> None:
    person = people["one"]
    for headers in ({}, {"mj-api-secret": "fs-wrong"}, {"Authorization": f"Basic {person.client.secret}"}):
        answer = asked(Client(person.client.base), method, prefix + path, person, person.done["id"], **headers)
        assert answer.status_code == 401
        if method != "HEAD":
            assert refused(answer, 4, "Unauthorized", 401)["error"] == "Unauthorized"


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(("name", "description"), [("expired", "账号已过期"), ("revoked", "账号已禁用")])
def test_a_key_that_is_over_opens_nothing(
    people: dict[str, Person], keys: dict[str, tuple[Key, str]], method: str, path: str, name: str, description: str
) -> None:
    person = people["one"]
    answer = asked(Client(person.client.base, keys[name][1]), method, path, person, person.done["id"])
    assert answer.status_code == 403
    if method != "HEAD":
        refused(answer, 4, description, 403)


@pytest.mark.parametrize(("method", "path"), ADMINS_ONLY)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_user_is_no_admin(people: dict[str, Person], method: str, path: str, prefix: str) -> None:
    person = people["one"]
    answer = asked(person.client, method, prefix + path, person, person.done["id"])
    assert answer.status_code == 403
    if method != "HEAD":
        refused(answer, 4, "您无权限访问", 403)


def test_an_admin_sees_everybody_there_and_nobody_elsewhere(
    client: Client, people: dict[str, Person], keys: dict[str, tuple[Key, str]]
) -> None:
    admins = [Client(client.base, keys["admin"][1]), client]  # the secret is one more admin
    ids = {task["id"] for person in people.values() for task in (person.done, person.held)}
    for admin in admins:
        page = admin.request("POST", "/mj/task-admin/query", json={"ids": sorted(ids)}).json()
        assert {state["id"] for state in page["content"]} == ids
        for person in people.values():
            assert admin.request("GET", f"/mj/task-admin/{person.done['id']}/fetch").json() == person.done
            refused(admin.request("GET", f"/mj/task/{person.done['id']}/fetch"), 3, "任务不存在", 404)
            refused(admin.request("POST", f"/mj/task/{person.held['id']}/cancel"), 3, "任务不存在", 404)
        assert admin.request("POST", "/mj/task/list-by-ids", json={"ids": sorted(ids)}).json() == []


def test_a_key_has_its_limits(client: Client, data_dir: Path, keys: dict[str, tuple[Key, str]]) -> None:
    body = {"sourceBase64": data_url(FACE), "targetBase64": data_url(PHOTO)}
    daily, concurrent = (Client(client.base, keys[name][1]) for name in ("daily", "concurrent"))
    accepted(daily.request("POST", SWAP, json=body))
    refused(daily.request("POST", SWAP, json=body), 4, "今日绘图次数已达上限")
    task = hold(data_dir, client.base, keys["concurrent"][0].id, "one too many")
    refused(concurrent.request("POST", SWAP, json=body), 23, "进行中的任务已达上限，请稍后尝试")
    assert concurrent.request("DELETE", f"/mj/task/{task}").json()["code"] == 1
    accepted(concurrent.request("POST", SWAP, json=body))


def test_a_revoked_key_closes_within_5_s(client: Client, data_dir: Path, keys: dict[str, tuple[Key, str]]) -> None:
    key, token = keys["closing"]
    holder = Client(client.base, token)
    assert holder.request("GET", "/mj/task/list").json() == []
    assert on_keys(data_dir, lambda ring: ring.revoke(key.id))
    assert within(lambda: always(holder, 403)) < KNOWN_WITHIN_S + SLACK_S
    refused(holder.request("GET", "/mj/task/list"), 4, "账号已禁用", 403)
