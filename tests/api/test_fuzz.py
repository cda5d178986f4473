"""No body, JSON or not, is ever answered with a fault of ours, with HTML, or by keeping half a task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serve_app.api.app import ApiConfig
from tests.api.support import SWAP, Service, build, data_url, plain, sample

LIST = "/mj/task/list-by-condition"
GOOD = [data_url(sample(0)), plain(sample(1, "JPEG")), data_url(sample(2, "WEBP"), "image/png")]
MEMBERS = ["sourceBase64", "targetBase64", "sourceUrl", "targetUrl", "state", "notifyHook", "accountFilter", "instanceId", "ids", "mode"]

text = st.text(max_size=30)
spoilt = st.tuples(st.sampled_from(GOOD), st.integers(0, 400), text).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
)
hooks = st.tuples(st.sampled_from(["http", "https", "HTTP", "ftp", ""]), st.sampled_from(["://", ":", ""]), text).map("".join)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), text, st.sampled_from(GOOD), spoilt, hooks
)
anything = st.recursive(
    leaves, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)), max_leaves=8
)
bodies = st.one_of(
    anything,
    st.dictionaries(st.sampled_from(MEMBERS), anything, max_size=8),
    st.fixed_dictionaries(
        {"sourceBase64": st.sampled_from(GOOD) | spoilt, "targetBase64": st.sampled_from(GOOD) | spoilt},
        optional={"state": anything, "notifyHook": hooks | anything, "accountFilter": anything},
    ),
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return build(tmp_path_factory.mktemp("fuzz"), ApiConfig())


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(service.app) as client:
        yield client
        assert client.portal is not None
        client.portal.call(service.database.close)


def post(client: TestClient, path: str, content: bytes) -> Any:
    response = client.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    return orjson.loads(response.content)


def encoded(body: object) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example({"sourceBase64": GOOD[0], "targetBase64": GOOD[1], "state": "\ud7ff\ue000\U0010ffff\x1f", "notifyHook": "http://[::1]:8/"})
@example({"sourceBase64": GOOD[0], "targetBase64": GOOD[1], "notifyHook": "http://[v1.x]/"})
@example({"sourceBase64": GOOD[0], "targetBase64": GOOD[1], "accountFilter": {"instanceId": 2**64 - 1}})
@given(bodies)
def test_any_json_submit(service: Service, client: TestClient, body: object) -> None:
    before, files = len(service.accepted), len(service.stored())
    answer = post(client, SWAP, encoded(body))
    assert isinstance(answer["description"], str)
    assert answer["description"]
    assert answer["code"] in (1, 4)
    accepted = answer["code"] == 1
    assert (answer["result"] is not None) == accepted
    assert len(service.accepted) == before + accepted
    assert len(service.stored()) == files + 2 * accepted
    if accepted:
        assert isinstance(body, dict)
        task = orjson.loads(client.get(f"/mj/task/{answer['result']}/fetch").content)
        assert task["state"] == body.get("state")


@settings(max_examples=150, deadline=None)
@given(bodies | st.fixed_dictionaries({"ids": st.lists(anything, max_size=5)}))
def test_any_json_list(client: TestClient, body: object) -> None:
    answer = post(client, LIST, encoded(body))
    assert isinstance(answer, list) or answer["code"] == 4


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | text.map(str.encode), st.sampled_from([SWAP, LIST]))
def test_any_bytes(client: TestClient, content: bytes, path: str) -> None:
    answer = post(client, path, content)
    assert isinstance(answer, list) or answer["code"] == 4


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="/."), min_size=1, max_size=40),
    st.sampled_from(["/mj/task/{}/fetch", "/mj/image/{}", "/mj-{}/x"]),
)
def test_any_path(client: TestClient, name: str, path: str) -> None:
    response = client.get(path.format(quote(name)), follow_redirects=False)
    assert response.status_code in (404, 405)
    assert response.headers["content-type"] == "application/json"
