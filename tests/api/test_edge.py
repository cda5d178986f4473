"""api/edge.py and the small middlewares: languages, request ids, CORS, and what each of them costs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serve_app.api.body import read_body
from serve_app.api.config import ApiConfig
from serve_app.api.edge import edge
from serve_app.api.errors import Answer, ApiError, Refusals, envelope

Handler = Callable[[Request], Awaitable[Response]]


def client(handler: Handler, **config: Any) -> httpx2.AsyncClient:
    """A service of one route, POST /mj/x, behind the whole edge."""
    refusals = Refusals()
    app = Starlette(
        routes=[Route("/mj/x", handler, methods=["POST"])],
        middleware=edge(ApiConfig(**config), refusals),
        exception_handlers={ApiError: refusals.refused, HTTPException: refusals.no_route},
    )
    app.router.redirect_slashes = False
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://swap.test")


async def busy(_request: Request) -> Response:
    raise ApiError(Answer.RATE_LIMITED, reason="Too many.", retry_after=12.3)


async def broken(_request: Request) -> Response:
    raise ValueError("private words")


@pytest.mark.parametrize(
    ("language", "description"),
    [
        ("en", "Too many requests, please try again later"),
        ("EN-us", "Too many requests, please try again later"),
        ("en_GB", "Too many requests, please try again later"),
        ("zh", "请求过于频繁，请稍后尝试"),
        ("enm", "请求过于频繁，请稍后尝试"),
        ("", "请求过于频繁，请稍后尝试"),
        (None, "请求过于频繁，请稍后尝试"),
    ],
)
async def test_descriptions_are_chinese_or_english(language: str | None, description: str) -> None:
    async with client(busy) as service:
        response = await service.post("/mj/x", headers={} if language is None else {"language": language})
        assert (response.status_code, response.json()["description"]) == (429, description)
        assert response.headers["retry-after"] == "13"
        assert (await service.post("/mj/x")).json()["description"] == "请求过于频繁，请稍后尝试"


async def test_faults_and_unknown_routes_speak_english_too() -> None:
    async with client(broken) as service:
        for path, description in (("/mj/x", "Internal error"), ("/mj/y", "No such route")):
            assert (await service.post(path, headers={"language": "en"})).json()["description"] == description


def test_every_answer_is_in_both_languages() -> None:
    for answer in Answer:
        assert answer.english.isascii()
        assert answer.english.strip() == answer.english != ""
        assert answer is Answer.UNAUTHORIZED or not answer.description.isascii()
        assert answer.english.count("{") == answer.description.count("{")
    assert len({answer.english for answer in Answer}) == len(Answer)


def test_words_of_the_request_are_not_taken_for_places_to_fill() -> None:
    response = envelope(Answer.INSTANCE_UNKNOWN, instance="{field} {0.__class__} %s")
    assert "{field} {0.__class__} %s" in bytes(response.body).decode()


async def test_an_id_comes_back_and_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with client(broken) as service:
        response = await service.post("/mj/x", headers={"x-request-id": "trace-1/2:3"})
    assert response.headers.get_list("x-request-id") == ["trace-1/2:3"]
    assert "a request failed: ValueError (request trace-1/2:3)" in caplog.text


@pytest.mark.parametrize("id", [b"", b"a b", b"a" * 129, b"\xff", b"\t", "字".encode()])
async def test_a_bad_id_is_replaced(id: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with client(broken) as service:
        response = await service.post("/mj/x", headers=[(b"x-request-id", id)])
    (given,) = response.headers.get_list("x-request-id")
    assert len(given) == 32
    assert f"(request {given})" in caplog.text


async def test_every_request_has_an_id_of_its_own() -> None:
    async with client(busy) as service:
        ids = {(await service.post("/mj/x")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


async def test_behind_a_proxy_that_names_requests_the_answer_is_left_alone() -> None:
    async with client(busy, reply_request_id=False) as service:
        assert "x-request-id" not in (await service.post("/mj/x")).headers


async def test_pages_of_other_hosts_may_read_what_they_need() -> None:
    asked = "mj-api-secret, authorization, content-type, x-ptoken, mj-version, accept-language, language, idempotency-key, prefer"
    async with client(busy) as service:
        for method in ("GET", "POST", "DELETE", "HEAD"):
            headers = {
                "origin": "https://page.example",
                "access-control-request-method": method,
                "access-control-request-headers": asked,
            }
            preflight = await service.options("/mj-fast/mj/x", headers=headers)
            assert preflight.is_success
            assert preflight.headers["access-control-allow-origin"] == "*"
            assert method in preflight.headers["access-control-allow-methods"]
            assert {*asked.split(", ")} <= {*preflight.headers["access-control-allow-headers"].split(", ")}
        answer = await service.post("/mj/x", headers={"origin": "null"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"x-request-id", "retry-after"} <= {*answer.headers["access-control-expose-headers"].split(", ")}


async def test_the_parts_work_together() -> None:
    """The mode, the client behind the proxy and the body all reach the route."""
    found: list[object] = []

    async def route(request: Request) -> Response:
        body = await read_body(request, 10)
        found.append((request.scope["faceswap.mode"], request.scope["client"][0], request.url.scheme, body))
        return PlainTextResponse("done")

    async with client(route, trusted_proxies=(ip_network("127.0.0.0/8"),)) as service:
        headers = {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https"}
        assert (await service.post("//mj/mj-turbo/mj/x/", content=b"five5", headers=headers)).text == "done"
        too_large = await service.post("/mj/x", content=b"x" * 11)
    assert found == [("turbo", "1.2.3.4", "https", b"five5")]
    assert too_large.status_code == 413


async def test_a_refusal_of_a_middleware_is_an_answer_and_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    """What the middlewares behind the edge raise, such as the one that asks for keys."""
    app: Any = busy

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        await app(scope)

    for middleware in reversed(edge(ApiConfig(), Refusals())):
        # One ASGI application around the other, whatever its class.
        guard = middleware.cls(guard, *middleware.args, **middleware.kwargs)  # type: ignore[assignment]
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(guard), base_url="http://swap.test") as service:
        response = await service.get("/mj/x", headers={"language": "en"})
    assert (response.status_code, response.json()["code"], response.headers["retry-after"]) == (429, 23, "13")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
