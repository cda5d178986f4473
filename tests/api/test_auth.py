"""api/auth.py: with a secret set, nothing under /mj but the pictures is open, under any prefix."""

from __future__ import annotations

import pytest

from serve_app.api.app import ApiConfig
from tests.api.support import SWAP, MakeService, swap_body

CLOSED = [("POST", SWAP), ("GET", "/mj/task/1/fetch"), ("POST", "/mj/task/list-by-condition"), ("GET", "/mj/nope")]
SECRET = "k3y mit Größe"


@pytest.mark.parametrize("prefix", ["", "/mj-fast", "/mj-relax", "/mj-turbo"])
@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize(
    "headers",
    [{}, {"mj-api-secret": "wrong"}, {"authorization": "Bearer"}, {"authorization": ""}, {"x-ptoken": "key"}, {"authorization": "keykey"}],
)
async def test_without_the_secret(make_service: MakeService, prefix: str, method: str, path: str, headers: dict[str, str]) -> None:
    service = await make_service(secret="key")
    response = await service.client.request(method, prefix + path, json=swap_body(), headers=headers)
    assert response.status_code == 401
    assert response.json() == {"code": 4, "description": "Unauthorized", "result": None, "properties": {}, "error": "Unauthorized"}
    assert not service.stored()


@pytest.mark.parametrize(
    "headers",
    [
        {"mj-api-secret": "key"},
        {"Mj-Api-Secret": "Bearer key"},
        {"Authorization": "key"},
        {"Authorization": "Bearer key"},
        {"authorization": "bearer   key "},
        {"mj-api-secret": "key", "authorization": "key"},
        {"mj-api-secret": "wrong", "authorization": "Bearer key"},
        {"mj-api-secret": "key", "authorization": "Bearer sk-of-another-service"},
    ],
)
async def test_with_the_secret(make_service: MakeService, headers: dict[str, str]) -> None:
    service = await make_service(secret="key")
    response = await service.client.post(SWAP, json=swap_body(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (200, 1)


async def test_a_secret_with_blanks_and_letters_of_any_language(make_service: MakeService) -> None:
    service = await make_service(secret=SECRET)
    for value in (SECRET.encode(), b"Bearer " + SECRET.encode()):
        response = await service.client.post("/mj/task/list-by-condition", content=b"{}", headers=[(b"mj-api-secret", value)])
        assert (response.status_code, response.json()) == (200, [])


@pytest.mark.parametrize("secret", [None, "", "  "])
async def test_no_secret_is_open(make_service: MakeService, secret: str | None) -> None:
    service = await make_service(secret=secret)
    assert (await service.submit())["code"] == 1


async def test_health_and_pictures_are_open(make_service: MakeService) -> None:
    service = await make_service(secret="key")
    assert (await service.client.get("/health")).status_code == 200
    assert (await service.client.get("/mj/image/nope.png")).status_code == 404
    assert (await service.client.get("/mj-fast/mj/image/nope.png")).status_code == 404


def test_the_secret_is_not_in_what_is_printed() -> None:
    assert "key" not in repr(ApiConfig(secret="key", notify_hook="https://hook/?key"))
