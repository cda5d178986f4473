"""No body, JSON or not, is answered with a fault of ours, with HTML or not at all, and a refused one leaves neither row nor byte.

`pytest tests/api/test_fuzz.py --fuzz 20000 --timeout 3600` is the long form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serve_app.api.app import ApiConfig
from serve_app.api.config import DefaultLimits, DefaultRates
from serve_app.api.schema import SwapBody
from serve_app.egress.address import Address, AddressPolicy, AddressRefused
from serve_app.egress.client import Egress
from tests.api.site import NAMES, Site
from tests.api.support import SWAP, Service, build, data_url, plain, sample
from tests.egress.common import OUTSIDE, Names, website

ANSWERED_S = 20.0  # what is not answered by then hangs
LIST = "/mj/task/list-by-condition"
QUERY = "/mj/task/query"
GOOD = [data_url(sample(0)), plain(sample(1, "JPEG")), data_url(sample(2, "WEBP"), "image/png")]
MEMBERS = [str(field.alias) for field in SwapBody.model_fields.values()] + ["instanceId", "ids", "mode", "seed"]
PORT = 1  # of the site in a URL, until it is known

text = st.text(max_size=30)
spoilt = st.tuples(st.sampled_from(GOOD), st.integers(0, 400), text).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
)
urls = st.one_of(
    st.tuples(st.sampled_from(["http", "https", "HTTP", "ftp", ""]), st.sampled_from(["://", ":", ""]), text).map("".join),
    st.tuples(
        st.sampled_from(["http://", "https://", "http://user:pass@", "HTTP://"]),
        st.sampled_from([f"pictures.example:{PORT}", f"{OUTSIDE}:{PORT}", f"inside.example:{PORT}", "[::1]", "0x7f.1", "nowhere.example"]),
        st.sampled_from(["/face.png", "/target.jpg", "/page.html", "/old", "/gone", ""]) | text.map("/{}".format),
    ).map("".join),
)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), text, st.sampled_from(GOOD), spoilt, urls
)
anything = st.recursive(
    leaves, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)), max_leaves=8
)
filters = st.fixed_dictionaries({}, optional={"instanceId": leaves, "modes": anything}) | anything
sources = st.fixed_dictionaries(
    {}, optional={"base64": st.sampled_from(GOOD) | spoilt, "url": urls, "face": leaves, "target": st.integers(0, 3) | anything}
)
options = (
    st.fixed_dictionaries(
        {},
        optional={
            "wait": st.sampled_from([0, 0.01, None, -1, 61, 1e300, True, "5"]) | text,
            "faces": st.sampled_from(["all", "largest", "nearest", [0], [1, 2], [0, 0]]) | anything,
            "sources": st.lists(sources, max_size=3) | anything,
            "reference": sources,
            "sourceFace": leaves,
            "minFace": leaves,
            "minScore": leaves,
            "other": leaves,
        },
    )
    | anything
)
pictures = st.sampled_from(GOOD) | spoilt
nearly = st.fixed_dictionaries(
    {},
    optional={
        "sourceBase64": pictures,
        "targetBase64": pictures,
        "sourceUrl": urls,
        "targetUrl": urls,
        "state": text | anything,
        "notifyHook": urls | anything,
        "accountFilter": filters,
        "options": options,
    },
)
good = st.fixed_dictionaries(
    {"sourceBase64": st.just(GOOD[0]), "targetBase64": st.sampled_from(GOOD)},
    optional={"state": text, "notifyHook": urls | st.just(""), "accountFilter": filters, "seed": leaves},
)
bodies = st.one_of(anything, st.dictionaries(st.sampled_from(MEMBERS), anything, max_size=8), nearly, good)
asked = st.fixed_dictionaries(
    {}, optional={"Prefer": st.sampled_from(["wait=0", "wait", "return=minimal"]), "language": st.sampled_from(["en", "zh"])}
)


class OnlyHere(AddressPolicy):
    """Nothing outside this machine is called, whatever URL is made up."""

    def check(self, ip: Address, host: str | None = None) -> None:
        if ip != ip_address(OUTSIDE):
            raise AddressRefused(f"{host or ip}: not here")


@dataclass
class Running:
    """The service on a loop of its own, which all examples share."""

    runner: asyncio.Runner
    service: Service
    site: Site

    def ask(self, method: str, path: str, content: bytes = b"", headers: dict[str, str] | None = None) -> httpx2.Response:
        async def answered() -> httpx2.Response:
            async with asyncio.timeout(ANSWERED_S):
                sent = {"content-type": "application/json", **(headers or {})}
                return await self.service.client.request(method, path, content=content, headers=sent)

        response = self.runner.run(answered())
        assert response.status_code < 500
        assert response.headers["content-type"] == "application/json"
        return response

    def post(self, path: str, content: bytes, headers: dict[str, str] | None = None) -> Any:
        response = self.ask("POST", path, content, headers)
        assert response.status_code == 200
        return orjson.loads(response.content)

    def left(self) -> int:
        """Rows and files."""
        return self.service.rows() + len(self.service.stored())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    limits = DefaultLimits(max_image_bytes=20_000)
    config = ApiConfig(allow_open=True, limits=limits, rates=DefaultRates(None, None, None), picture_timeout_s=2.0)
    files = {"/face.png": sample(5), "/target.jpg": sample(6, "JPEG"), "/page.html": b"<html>no</html>"}
    site = Site(0, files, {"/old": "/face.png"})
    stack = AsyncExitStack()

    async def start() -> Service:
        site.port = await stack.enter_async_context(website(site.answer))
        service = build(tmp_path_factory.mktemp("fuzz"), config, egress=Egress(OnlyHere(), resolver=Names(NAMES)))
        stack.push_async_callback(service.database.close)
        await stack.enter_async_context(service.app.router.lifespan_context(service.app))
        await stack.enter_async_context(service.client)
        return service

    with asyncio.Runner() as runner:
        service = runner.run(start())
        yield Running(runner, service, site)
        runner.run(stack.aclose())


def encoded(body: object, port: int = PORT) -> bytes:
    """As JSON, with the site's real port."""
    return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS).replace(f":{PORT}/".encode(), f":{port}/".encode())


def test_any_submit(running: Running, examples: int) -> None:
    seen: dict[int, int] = {}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @example({"sourceBase64": GOOD[0], "targetBase64": GOOD[1], "state": "\ud7ff\ue000\U0010ffff\x1f", "notifyHook": "http://[::1]:8/"}, {})
    @example({"sourceBase64": GOOD[0], "targetBase64": GOOD[1], "notifyHook": "http://[v1.x]/"}, {})
    @example({"sourceBase64": GOOD[0], "targetBase64": GOOD[1], "accountFilter": {"instanceId": 2**64 - 1}}, {})
    @example({"sourceUrl": f"http://{OUTSIDE}:{PORT}/old", "targetUrl": f"http://pictures.example:{PORT}/target.jpg"}, {"Prefer": "wait=0"})
    @given(bodies, asked)
    def check(body: object, headers: dict[str, str]) -> None:
        answer = running.post(SWAP, encoded(body, running.site.port), headers)
        assert isinstance(answer["description"], str)
        assert answer["description"]
        assert answer["code"] in (1, 4)
        seen[answer["code"]] = seen.get(answer["code"], 0) + 1
        if answer["code"] == 1:
            id = answer["result"]
            assert isinstance(body, dict)
            assert len(running.service.stored()) == 2
            task = orjson.loads(running.ask("GET", f"/mj/task/{id}/fetch").content)
            assert task["state"] == body.get("state")
            running.ask("DELETE", f"/mj/task/{id}")
        else:
            assert answer["result"] is None
            assert answer["properties"]["reason"]
        assert running.left() == 0

    check()
    assert min(seen[1], seen[4]) > examples // 50  # both ways were walked


@settings(max_examples=150, deadline=None)
@given(bodies | st.fixed_dictionaries({"ids": st.lists(anything, max_size=5)}), st.sampled_from([LIST, "/mj/task/list-by-ids"]))
def test_any_list(running: Running, body: object, path: str) -> None:
    answer = running.post(path, encoded(body))
    assert isinstance(answer, list) or answer["code"] == 4


queries = st.fixed_dictionaries(
    {},
    optional={
        "pageNumber": st.integers(-1, 10**8) | leaves,
        "pageSize": st.integers(0, 1001) | leaves,
        "sort": st.tuples(st.sampled_from(["id", "submitTime", "state", "failReason"]) | text, st.sampled_from([",desc", ",asc", ""])).map(
            "".join
        ),
        "ids": st.lists(leaves, max_size=4),
        "statusSet": st.lists(st.sampled_from(["SUCCESS", "MODAL"]) | text, max_size=3),
        **{name: leaves for name in ("id", "action", "status", "state", "description", "failReason", "instanceId", "prompt", "promptEn")},
    },
)


@settings(max_examples=200, deadline=None)
@given(queries | anything)
def test_any_query(running: Running, body: object) -> None:
    answer = running.post(QUERY, encoded(body))
    assert answer["content"] == [] if "content" in answer else answer["code"] == 4


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | text.map(str.encode), st.sampled_from([SWAP, LIST, QUERY]))
def test_any_bytes(running: Running, content: bytes, path: str) -> None:
    answer = running.post(path, content)
    assert isinstance(answer, list) or "content" in answer or answer["code"] == 4
    assert running.left() == 0


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="/."), min_size=1, max_size=40),
    st.sampled_from(["/mj/task/{}/fetch", "/mj/image/{}", "/mj-{}/x", "/mj/task/{}", "/mj/task/{}/cancel", "/{}/mj/task/1/fetch"]),
    st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
)
def test_any_path(running: Running, name: str, path: str, method: str) -> None:
    response = running.ask(method, path.format(quote(name)))
    assert response.status_code in (404, 405)
    assert running.left() == 0
