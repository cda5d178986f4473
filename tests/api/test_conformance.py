"""Made-up requests against a real HTTP server: every answer is one that /openapi.json describes, and never a fault of ours.

`pytest tests/api/test_conformance.py --fuzz 20000 --timeout 3600` is the long form.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve_app.api.app import ApiConfig
from serve_app.api.config import DefaultRates
from serve_app.api.openapi import OPERATIONS, Operation
from tests.api.support import SWAP, Service, build, data_url, sample, served, swap_body

T = TypeVar("T")

KEY = {"mj-api-secret": "key"}
KEPT = 30  # tasks that nobody deletes; as many may be deleted
PER_OPERATION = 50  # one example of each operation for so many swap bodies, but at least 20
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@dataclass
class Server:
    """The service on a loop and a thread of its own. ids, names: of tasks in all states and of their pictures."""

    url: str
    schema: Any
    ids: list[str]
    names: list[str]
    session: requests.Session


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    stack = AsyncExitStack()
    url, ids, names = run(start(stack, tmp_path_factory.mktemp("conformance")))
    with requests.Session() as session:
        session.trust_env = False
        yield Server(url, schemathesis.openapi.from_url(f"{url}/openapi.json"), ids, names, session)
    run(stack.aclose())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def start(stack: AsyncExitStack, folder: Path) -> tuple[str, list[str], list[str]]:
    rates = DefaultRates(None, None, None)
    service = build(folder, ApiConfig(secret="key", rates=rates))
    stack.push_async_callback(service.database.close)
    await stack.enter_async_context(service.app.router.lifespan_context(service.app))
    await stack.enter_async_context(service.client)
    ids: list[str] = []
    names: list[str] = []
    for number in range(2 * KEPT):
        ids.append((await service.post(body=swap_body(state=str(number)), headers=KEY)).json()["result"])
        await moved_on(service, ids[-1], number % 4, names if number < KEPT else [])
    return await stack.enter_async_context(served(service.app)), ids, names


async def moved_on(service: Service, id: str, state: int, names: list[str]) -> None:
    """0: done, 1: failed, 2: worked on, 3: as good as new."""
    if state == 0:
        names.append(await service.finish(id, sample(9)))
    elif task := await service.store.claim("test", 3600):
        if state == 1:
            await service.store.fail(task, "no face was found", {})
        elif state == 2:
            await service.store.advance(task, 40)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_answers_are_as_documented(server: Server, examples: int, operation: Operation) -> None:
    described = server.schema[operation.path][operation.method]
    cases = described.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if operation.takes or "{" in operation.path:
        cases |= described.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    seen: dict[int, int] = {}

    @settings(max_examples=max(20, examples // PER_OPERATION), deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases, st.data())
    def check(case: Any, data: st.DataObject) -> None:
        make_likely(case, data, server)
        headers = data.draw(st.sampled_from([KEY, KEY, KEY, {"authorization": "Bearer key"}, {}, {"mj-api-secret": "wrong"}]))
        response = case.call(base_url=server.url, session=server.session, headers=headers, timeout=20)
        case.validate_response(response, checks=CHECKS)
        assert "html" not in response.headers.get("content-type", [""])[0]
        seen[response.status_code] = seen.get(response.status_code, 0) + 1

    check()
    assert seen[200] > 0


def make_likely(case: Any, data: st.DataObject, server: Server) -> None:
    """Most ids, names and pictures that can be made up are nobody's: half of the time, and the first time, there are real ones."""
    if data.draw(st.booleans()):
        return
    ids = server.ids[KEPT:] if case.method == "DELETE" else server.ids[:KEPT]
    for member, known in (("id", ids), ("name", server.names)):
        if member in (case.path_parameters or {}):
            case.path_parameters[member] = data.draw(st.sampled_from(known))
    if isinstance(case.body, dict) and "list-by" in case.path:
        case.body = {"ids": data.draw(st.lists(st.sampled_from(server.ids), max_size=5))}
    if isinstance(case.body, dict) and case.path == SWAP:
        case.body = {**case.body, "sourceBase64": data_url(sample(0)), "targetBase64": data_url(sample(1)), "options": {"wait": 0.01}}
