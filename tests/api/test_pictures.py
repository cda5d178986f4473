"""api/pictures.py: results for everybody who knows their name, and for nobody else."""

from __future__ import annotations

import pytest

from tests.api.support import SUFFIX, MakeService, Service, sample

PREFIXES = ["", "/mj-fast", "/mj-relax", "/mj-turbo"]


@pytest.mark.parametrize(("ext", "kind"), [("png", "image/png"), ("jpg", "image/jpeg"), ("jpeg", "image/jpeg"), ("webp", "image/webp")])
@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_picture(make_service: MakeService, prefix: str, ext: str, kind: str) -> None:
    service = await make_service(secret="key", public_url="https://faces.example")
    id = (await service.post(headers={"mj-api-secret": "key"})).json()["result"]
    name = await service.finish(id, sample(9), ext)

    response = await service.client.get(f"{prefix}/mj/image/{name}?rand=5")
    assert (response.status_code, response.content) == (200, sample(9))
    assert response.headers["content-type"] == kind
    assert response.headers["content-length"] == str(len(sample(9)))
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["cache-control"] == "private, max-age=86400, immutable"
    assert response.headers["content-disposition"] == f'inline; filename="{name}"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["etag"]
    head = await service.client.head(f"{prefix}/mj/image/{name}")
    assert (head.status_code, head.content) == (200, b"")
    for header in ("content-length", "content-type", "etag", "cache-control", "access-control-allow-origin", "x-content-type-options"):
        assert head.headers[header] == response.headers[header]
    again = await service.client.get(f"/mj/image/{name}", headers={"origin": "https://page.example"})
    assert again.content == response.content
    assert again.headers.get_list("access-control-allow-origin") == ["*"]


async def test_who_has_it_already_gets_it_no_more(service: Service) -> None:
    one, two = (await service.submit())["result"], (await service.submit())["result"]
    names = [await service.finish(one, sample(9)), await service.finish(two, sample(8))]
    etag, other = [(await service.client.head(f"/mj/image/{name}")).headers["etag"] for name in names]
    assert etag != other
    for given in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        for method in ("GET", "HEAD"):
            response = await service.client.request(method, f"/mj/image/{names[0]}", headers={"if-none-match": given})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == etag
            assert response.headers["cache-control"] == "private, max-age=86400, immutable"
    for given in (other, "", '"x"', etag[:-2] + '"'):
        response = await service.client.get(f"/mj/image/{names[0]}", headers={"if-none-match": given})
        assert (response.status_code, response.content) == (200, sample(9))


async def test_pictures_cannot_be_found_by_guessing(service: Service) -> None:
    waiting = (await service.submit())["result"]
    name = await service.finish(waiting, sample(9))
    later = (await service.submit())["result"]
    guesses = [
        waiting,
        f"{waiting}.png",
        name[:-5] + "w.png",
        name.replace(".png", ".jpg"),
        name.upper(),
        f"{later}-",
        f"{later}-None",
        f"{later}-{SUFFIX}.png",
        "None",
        "..",
        "%00",
        f"{waiting}-%",
    ]
    for guess in guesses:
        for method in ("GET", "HEAD"):
            response = await service.client.request(method, f"/mj/image/{guess}", headers={"if-none-match": "*"})
            assert response.status_code == 404
        assert (await service.client.get(f"/mj/image/{guess}")).json()["code"] == 3


async def test_inputs_are_nobodys_to_see(service: Service) -> None:
    id = (await service.submit())["result"]
    for path in (f"/mj/image/inputs%2F{id}%2Fsource", f"/mj/image/{id}/source", f"/mj/image/{id}-..%2F..%2Finputs"):
        assert (await service.client.get(path)).status_code == 404


async def test_a_picture_whose_bytes_are_gone(service: Service) -> None:
    id = (await service.submit())["result"]
    name = await service.finish(id, sample(9))
    await service.blobs.delete(f"{id}/result.png")
    response = await service.client.get(f"/mj/image/{name}")
    assert (response.status_code, response.json()["description"]) == (404, "图片不存在")
