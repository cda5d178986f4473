"""deployments/failover.py: what Ray's proxy did not answer is sent again, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.again import HEADER
from serve_app.api.errors import Refusals
from serve_app.deployments import failover
from serve_app.deployments.failover import Failover

Answering = Callable[[Send], Awaitable[None]]
BODY = (b"one", b"two", b"three")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(failover, "_LOOK_S", 0.0)


class Ray:
    """Ray's proxy as seen from a middleware: reads the body, then does what is next in `does`. heard: headers and body of each sending."""

    def __init__(self, *does: Answering) -> None:
        self.does = list(does)
        self.heard: list[tuple[dict[bytes, bytes], bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        self.heard.append((dict(scope["headers"]), body))
        scope["headers"].clear()  # it is Ray's to change
        scope["root_path"] = "/changed"
        await self.does.pop(0)(send)


async def dies(send: Send) -> None:
    """The replica is killed."""


async def dies_after_its_start(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})


async def dies_within_its_answer(send: Send) -> None:
    await dies_after_its_start(send)
    await send({"type": "http.response.body", "body": b"o", "more_body": True})


def answers(status: int, body: bytes = b"{}", kind: bytes = b"application/json") -> Answering:
    async def answer(send: Send) -> None:
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def says_itself(status: int) -> Answering:
    """Ray's own answer, in the form that convert_object_to_asgi_messages gives it."""

    async def answer(send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [[b"content-type", b"text/plain; charset=utf-8"]]})
        await send({"type": "http.response.body", "body": b"Path '/mj/task/1/fetch' not found."})

    return answer


async def ask(
    app: Failover, method: str = "POST", path: str = "/mj/x", parts: tuple[bytes, ...] = BODY, stays: bool = True
) -> list[Message]:
    """What the client gets. stays: it waits for its answer."""
    last = [{"type": "http.request", "body": part, "more_body": n + 1 < len(parts) or not stays} for n, part in enumerate(parts)]
    incoming: list[Message] = [*last, {"type": "http.disconnect"}]
    got: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        got.append(message)

    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": [(b"host", b"a")], "root_path": ""}
    await app(scope, receive, send)
    return got


def status(got: list[Message]) -> int:
    assert [message["type"] for message in got[:2]] == ["http.response.start", "http.response.body"]
    return int(got[0]["status"])


@pytest.mark.parametrize("death", [dies, dies_after_its_start, says_itself(503)])
@pytest.mark.parametrize("deaths", [1, 2])
async def test_what_a_dead_replica_had_is_sent_again_whole(death: Answering, deaths: int) -> None:
    ray = Ray(*[death] * deaths, answers(200))
    assert status(await ask(Failover(ray, Refusals()))) == 200
    assert [body for _, body in ray.heard] == [b"".join(BODY)] * (deaths + 1)
    assert len({headers[b"x-request-id"] for headers, _ in ray.heard}) == 1
    marks = [headers[HEADER].decode().partition("-") for headers, _ in ray.heard]
    assert [number for _, _, number in marks] == [str(number) for number in range(deaths + 1)]
    assert len({token for token, _, _ in marks}) == 1


async def test_two_requests_are_never_taken_for_one() -> None:
    ray = Ray(answers(200), answers(200))
    app = Failover(ray, Refusals())
    await ask(app)
    await ask(app)
    assert len({headers[HEADER] for headers, _ in ray.heard}) == 2


async def test_what_only_reads_needs_no_mark() -> None:
    ray = Ray(dies, answers(200))
    assert status(await ask(Failover(ray, Refusals()), "GET", parts=(b"",))) == 200
    assert not any(HEADER in headers for headers, _ in ray.heard)


@pytest.mark.parametrize("answer", [answers(500), answers(503), answers(404), answers(503, b"down", b"text/plain; charset=utf-8")])
async def test_the_applications_own_answers_are_final(answer: Answering) -> None:
    ray = Ray(answer)
    await ask(Failover(ray, Refusals()))
    assert len(ray.heard) == 1


async def test_what_the_client_has_half_of_is_not_begun_anew() -> None:
    ray = Ray(dies_within_its_answer)
    assert [message["type"] for message in await ask(Failover(ray, Refusals()))] == ["http.response.start", "http.response.body"]
    assert len(ray.heard) == 1


async def test_in_the_end_the_client_is_answered_in_json() -> None:
    ray = Ray(dies, dies, dies)
    got = await ask(Failover(ray, Refusals()))
    assert status(got) == 503
    headers = dict(got[0]["headers"])
    assert headers[b"x-request-id"] == ray.heard[0][0][b"x-request-id"]
    assert (headers[b"content-type"], headers[b"retry-after"]) == (b"application/json", b"5")
    assert json.loads(got[1]["body"])["code"] == 9


async def test_nothing_is_sent_again_for_a_client_that_left() -> None:
    ray = Ray(dies)
    assert await ask(Failover(ray, Refusals()), stays=False) == []
    assert len(ray.heard) == 1


async def test_bodies_are_kept_only_as_far_as_there_is_room() -> None:
    parts = (b"x" * 60, b"x" * 60)
    ray = Ray(*[dies, answers(200)] * 3, dies)
    app = Failover(ray, Refusals(), kept_bytes=120)
    for _ in range(3):  # what one held, the next one has again
        assert status(await ask(app, parts=parts)) == 200
    assert status(await ask(app, parts=(*parts, b"x"))) == 503
    assert ray.heard[-1][1] == b"x" * 121
    assert ray.does == []


async def test_a_body_is_not_kept_any_longer_once_the_answer_begins() -> None:
    free = []

    async def looks(send: Send) -> None:
        await dies_within_its_answer(send)
        free.append(app._room)

    app = Failover(Ray(looks), Refusals(), kept_bytes=100)
    await ask(app)
    assert free == [100]


async def test_a_new_proxy_waits_until_it_knows_its_routes() -> None:
    ray = Ray(says_itself(404), says_itself(404), answers(200), says_itself(404))
    app = Failover(ray, Refusals())
    assert status(await ask(app)) == 200
    assert {headers[HEADER].rpartition(b"-")[2] for headers, _ in ray.heard} == {b"0"}, "nobody has seen it before"
    assert status(await ask(app)) == 404, "now it is to be believed"


async def test_a_proxy_without_an_application_says_so_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "ROUTES_S", 0.0)
    assert status(await ask(Failover(Ray(says_itself(404)), Refusals()))) == 503


async def test_rays_own_routes_are_its_own() -> None:
    assert status(await ask(Failover(Ray(says_itself(503)), Refusals()), "GET", "/-/healthz")) == 503
