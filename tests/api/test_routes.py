"""api/routes.py, api/prefix.py and api/origin.py: what each path answers, under each prefix, to each method."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.api.support import SWAP, MakeService, Service, sample, swap_body

PREFIXES = ["", "/mj-fast", "/mj-relax", "/mj-turbo"]
LIST = "/mj/task/list-by-condition"


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_task_is_seen_under_every_prefix_with_the_mode_of_its_own(service: Service, prefix: str) -> None:
    response = await service.client.post(prefix + SWAP, json=swap_body())
    id = response.json()["result"]
    seen = [await service.fetch(id, other) for other in PREFIXES]
    listed = [(await service.client.post(other + LIST, json={"ids": [id]})).json() for other in PREFIXES]
    assert all(body == seen[0] for body in seen)
    assert all(body == [seen[0]] for body in listed)
    assert seen[0]["mode"] == (prefix.removeprefix("/mj-").upper() or None)


async def test_an_unknown_task(service: Service) -> None:
    for id in ("1724000000000123", "nope", "None", "%00", "%E5%9B%BE", "x" * 5000):
        response = await service.client.get(f"/mj/task/{id}/fetch")
        body = response.json()
        assert (response.status_code, body["code"], body["description"], body["result"]) == (404, 3, "任务不存在", None)


async def test_gets_with_a_content_type_and_a_body(service: Service) -> None:
    id = (await service.submit())["result"]
    for content in (b"null", b"{", b""):
        headers = {"content-type": "application/json"}
        response = await service.client.request("GET", f"/mj/task/{id}/fetch", content=content, headers=headers)
        assert response.json()["id"] == id


async def test_lists_give_what_exists_each_once(service: Service) -> None:
    ids = [(await service.submit())["result"] for _ in range(3)]
    asked = [ids[2], "nope", ids[0], int(ids[0]), f" {ids[2]} ", None, 1.5, True, "", {"id": ids[1]}, "9" * 500, -1]
    response = await service.client.post(LIST, json={"ids": asked})
    assert response.status_code == 200
    assert sorted(task["id"] for task in response.json()) == sorted([ids[0], ids[2]])


@pytest.mark.parametrize("body", [b'{"ids":[]}', b"{}", b'{"ids":null}', b"null", b"[]", b"", b" ", b'{"ids":["nope"]}', b'{"other":[1]}'])
async def test_an_empty_list(service: Service, body: bytes) -> None:
    await service.submit()
    response = await service.client.post(LIST, content=body)
    assert (response.status_code, response.json()) == (200, [])


async def test_a_list_of_many_ids(service: Service) -> None:
    id = (await service.submit())["result"]
    others = [str(number) for number in range(9_999)]
    assert [task["id"] for task in (await service.client.post(LIST, json={"ids": [*others, id]})).json()] == [id]
    too_many = await service.client.post(LIST, json={"ids": [*others, id, "1"]})
    assert (too_many.status_code, too_many.json()["code"], too_many.json()["properties"]["field"]) == (200, 4, "ids")


@pytest.mark.parametrize("body", [b"{", b'{"ids":"1"}', b'{"ids":{"a":1}}', b"5", b'"x"', b"\xff"])
async def test_a_bad_list_request(service: Service, body: bytes) -> None:
    response = await service.client.post(LIST, content=body)
    assert (response.status_code, response.json()["code"], response.json()["result"]) == (200, 4, None)


@pytest.mark.parametrize(("ext", "kind"), [("png", "image/png"), ("jpg", "image/jpeg"), ("jpeg", "image/jpeg"), ("webp", "image/webp")])
@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_picture(make_service: MakeService, prefix: str, ext: str, kind: str) -> None:
    service = await make_service(secret="key", public_url="https://faces.example")
    submit = await service.client.post(SWAP, json=swap_body(), headers={"mj-api-secret": "key"})
    id = submit.json()["result"]
    name = await service.finish(id, sample(9), ext)
    fetched = await service.client.get(f"/mj/task/{id}/fetch", headers={"mj-api-secret": "key"})
    assert fetched.json()["imageUrl"] == f"https://faces.example/mj/image/{name}"

    response = await service.client.get(f"{prefix}/mj/image/{name}?rand=5")
    assert (response.status_code, response.content) == (200, sample(9))
    assert response.headers["content-type"] == kind
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["cache-control"] == "private, max-age=86400, immutable"
    assert response.headers["content-disposition"] == f'inline; filename="{name}"'
    assert response.headers["x-content-type-options"] == "nosniff"
    head = await service.client.head(f"{prefix}/mj/image/{name}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(sample(9)))
    assert head.headers["content-type"] == kind


async def test_pictures_cannot_be_found_by_guessing(service: Service) -> None:
    waiting = (await service.submit())["result"]
    name = await service.finish(waiting, sample(9))
    later = (await service.submit())["result"]
    guesses = [
        waiting,
        f"{waiting}.png",
        name[:-5] + "w.png",
        name.replace(".png", ".jpg"),
        f"{later}-",
        f"{later}-None",
        "None",
        "..",
        "%00",
    ]
    for guess in guesses:
        response = await service.client.get(f"/mj/image/{guess}")
        assert response.status_code == 404
        assert response.json()["code"] == 3


async def test_a_picture_whose_bytes_are_gone(service: Service) -> None:
    id = (await service.submit())["result"]
    name = await service.finish(id, sample(9))
    await service.blobs.delete(f"{id}/result.png")
    response = await service.client.get(f"/mj/image/{name}")
    assert (response.status_code, response.json()["description"]) == (404, "图片不存在")


async def test_health(service: Service) -> None:
    response = await service.client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "family": "fake"})
    assert (await service.client.head("/health")).status_code == 200


@pytest.mark.parametrize("path", ["/mj/insight-face/video-swap", "/mj", "/", "/mj-fast/mj/nope", "/mj-slow/mj/insight-face/swap", "/%5B"])
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
