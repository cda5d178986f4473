"""api/routes.py, api/prefix.py and api/origin.py: what each path answers, under each prefix, to each method."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.api.support import SWAP, MakeService, Service, sample, swap_body


@pytest.mark.parametrize(
    "path",
    ["/mj/insight-face/video-swap", "/mj", "/", "/mj-fast/mj/nope", "/a/b/mj/insight-face/swap", "/mj-fast/insight-face/swap", "/%5B"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_route(service: Service, path: str, method: str) -> None:
    response = await service.client.request(method, path, headers={"host": "[broken"})
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert (body["status"], body["error"], body["path"]) == (404, "Not Found", path.replace("%5B", "["))
    assert body["timestamp"].endswith("+00:00")
    assert body["result"] is None


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", SWAP, "POST"), ("PUT", "/health", "GET"), ("POST", "/mj/image/x.png", "GET")]
)
async def test_a_wrong_method(service: Service, method: str, path: str, allowed: str) -> None:
    response = await service.client.request(method, path)
    assert response.status_code == 405
    assert allowed in response.headers["allow"]
    assert (response.json()["error"], response.json()["path"]) == ("Method Not Allowed", path)


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("swap.example:8443", "http://swap.example:8443"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("evil.example/path?", "http://swap.test"),
        ("<script>", "http://swap.test"),
        ("[broken", "http://swap.test"),
    ],
)
async def test_links_start_where_the_request_was_sent(service: Service, host: str, base: str) -> None:
    response = await service.client.post(SWAP, json=swap_body(), headers={"host": host})
    assert response.json()["code"] == 1
    assert service.accepted[0].base_url == base


async def test_a_service_below_a_mount_point(make_service: MakeService) -> None:
    service = await make_service(secret="key")
    # The client has no public way to another application.
    service.client._transport.app = Starlette(routes=[Mount("/faces", app=service.app)])  # type: ignore[attr-defined]
    headers = {"mj-api-secret": "key"}
    response = await service.client.post("/faces/mj-fast" + SWAP, json=swap_body(), headers=headers)
    assert response.json()["code"] == 1
    assert (service.accepted[0].mode, service.accepted[0].base_url) == ("fast", "http://swap.test/faces")
    assert (await service.client.post("/faces" + SWAP, json=swap_body())).status_code == 401
    assert (await service.client.post("/faces/mj-fast" + SWAP, json=swap_body())).status_code == 401
    id = response.json()["result"]
    name = await service.finish(id, sample(9))
    url = (await service.client.get(f"/faces/mj/task/{id}/fetch", headers=headers)).json()["imageUrl"]
    assert url == f"http://swap.test/faces/mj/image/{name}"
    assert (await service.client.get(url)).content == sample(9)


@pytest.mark.parametrize("secret", [None, "key"])
async def test_browsers_may_call_from_any_page(make_service: MakeService, secret: str | None) -> None:
    service = await make_service(secret=secret)
    asked = "mj-api-secret,authorization,content-type,x-ptoken,mj-version,accept-language"
    headers = {"origin": "https://page.example", "access-control-request-method": "POST", "access-control-request-headers": asked}
    preflight = await service.client.options(SWAP, headers=headers)
    assert preflight.is_success
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert set(asked.split(",")) <= {name.strip() for name in preflight.headers["access-control-allow-headers"].split(",")}
    for path in ("/mj/task/1/fetch", "/nope", "/health", "/mj/image/x.png"):
        answer = await service.client.get(path, headers={"origin": "https://page.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
