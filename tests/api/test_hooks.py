"""api/hooks.py: callbacks, for admins."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from serve_app.api.openapi import document
from serve_app.tasks.outbox import Outbox, Outcome, Verdict
from tests.api.support import MakeService, Service, sample

HOOKS = "/mj/task-admin/hooks"
URL = "https://user:pa55@hook.example:8443/s3cret?token=t0ken"
DOCUMENT = document()


async def bury(service: Service) -> None:
    outbox = Outbox(service.database)
    while due := await outbox.claim_due(10, 30):
        await outbox.settle([Outcome(callback, Verdict.DEAD, error="HTTP 410") for callback in due])


def check(value: object, method: str, path: str) -> None:
    schema = DOCUMENT["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


@pytest.fixture
async def owing(service: Service) -> tuple[Service, str]:
    """With a finished task whose hook was given up."""
    id = (await service.submit(notifyHook=URL))["result"]
    await service.finish(id, sample(9))
    await bury(service)
    return service, id


async def test_a_task_says_why_its_hook_was_given_up(owing: tuple[Service, str]) -> None:
    service, id = owing
    state = await service.fetch(id)
    assert state["status"] == "SUCCESS"
    assert state["properties"]["notifyHookError"] == "HTTP 410"
    assert state["properties"]["family"] == "test"


async def test_listed_shown_and_sent_again(owing: tuple[Service, str]) -> None:
    service, id = owing
    listed = (await service.client.get(HOOKS)).json()
    check(listed, "get", HOOKS)
    assert (listed["pending"], listed["oldest"], listed["dead"]) == (0, None, 1)
    (hook,) = listed["hooks"]
    assert {name: hook[name] for name in ("task", "status", "state", "host", "due", "error")} == {
        "task": id,
        "status": "SUCCESS",
        "state": "dead",
        "host": "hook.example:8443",
        "due": None,
        "error": "HTTP 410",
    }
    shown = (await service.client.get(f"{HOOKS}/{id}")).json()
    check(shown, "get", HOOKS + "/{id}")
    assert shown == listed["hooks"]
    silent = (await service.submit())["result"]
    assert (await service.client.get(f"{HOOKS}/{silent}")).json() == []
    for query, count in (("state=dead&limit=5", 1), ("state=pending", 0), ("host=hook.example:8443", 1), ("host=nope&state=", 0)):
        assert len((await service.client.get(f"{HOOKS}?{query}")).json()["hooks"]) == count
    for body in ({"task": id}, {"dead": True}, {"host": "hook.example:8443"}, {"host": "hook.example:8443", "dead": True}):
        sent = await service.post(f"{HOOKS}/resend", body)
        check(sent.json(), "post", HOOKS + "/resend")
        assert sent.json() == {"count": 1}
        assert (await service.client.get(HOOKS)).json()["pending"] == 1
        assert "notifyHookError" not in (await service.fetch(id))["properties"]
        await bury(service)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [({}, 200, 4), ({"dead": False}, 200, 4), ({"hosts": "a"}, 200, 4), ({"task": 5}, 200, 4), ([], 200, 4), ({"task": "nope"}, 404, 3)],
)
async def test_what_cannot_be_sent_again(owing: tuple[Service, str], body: Any, status: int, code: int) -> None:
    answer = await owing[0].post(f"{HOOKS}/resend", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("query", ["state=lost", "limit=0", "limit=many", "limit=1001"])
async def test_what_cannot_be_listed(service: Service, query: str) -> None:
    answer = await service.client.get(f"{HOOKS}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (200, 4)
    assert query.partition("=")[0] == answer.json()["properties"]["field"]


async def test_admins_only(make_service: MakeService) -> None:
    service = await make_service()
    tokens = {role: (await service.keys.create("", role))[1] for role in ("user", "admin")}
    asks = (("GET", HOOKS, None), ("GET", f"{HOOKS}/1", None), ("POST", f"{HOOKS}/resend", {"dead": True}))
    for method, path, body in asks:
        statuses = [
            (await service.client.request(method, path, json=body, headers={"mj-api-secret": tokens[role]})).status_code
            for role in ("user", "admin")
        ]
        assert statuses in ([403, 200], [403, 404])


async def test_nothing_of_a_url_but_its_host(owing: tuple[Service, str], caplog: pytest.LogCaptureFixture) -> None:
    service, id = owing
    said = "".join([(await service.client.get(path)).text for path in (HOOKS, f"{HOOKS}/{id}", f"/mj/task/{id}/fetch")]) + caplog.text
    assert "hook.example" in said
    assert not any(secret in said for secret in ("user:", "pa55", "s3cret", "t0ken"))
