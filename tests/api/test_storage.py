"""A place for pictures that is full, and results that are not kept any more."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.api.support import Service, data_url, sample, swap_body
from tests.disk import files_no_larger_than


@pytest.mark.parametrize("member", ["sourceBase64", "targetBase64"])
async def test_pictures_that_do_not_fit_are_not_accepted(service: Service, member: str) -> None:
    large = data_url(sample(5, width=1000, height=800))
    rows = service.rows()
    with files_no_larger_than(1_000_000):  # the database stays below
        response = await service.post(body=swap_body(**{member: large}))
        assert (response.status_code, response.json()["code"]) == (503, 9)
        assert response.headers["retry-after"]
        assert (service.rows(), service.stored()) == (rows, [])
        assert (await service.submit())["code"] == 1
    assert (await service.submit(**{member: large}))["code"] == 1


async def test_a_result_that_is_not_kept_any_more_is_gone(service: Service) -> None:
    id = (await service.submit())["result"]
    name = await service.finish(id, sample(9))
    before = await service.fetch(id)
    await service.database.write(lambda connection: connection.execute(text("update tasks set result = null")).close())
    for headers in ({}, {"if-none-match": "*"}):
        gone = await service.client.get(f"/mj/image/{name}", headers=headers)
        assert gone.status_code == 410
        assert gone.json() | {"properties": {}} == {
            "code": 3,
            "description": "图片已过期",
            "result": None,
            "properties": {},
            "error": "Gone",
        }
    english = await service.client.get(f"/mj/image/{name}", headers={"language": "en"})
    assert english.json()["description"] == "The picture has expired"
    assert (await service.client.head(f"/mj/image/{name}")).status_code == 410
    assert (await service.client.get(f"/mj/image/{id}-guessed.png")).status_code == 404
    assert await service.fetch(id) == before | {"imageUrl": None}
    assert (await service.post(f"/mj/task/{id}/cancel", {})).json()["code"] == 4
    assert (await service.client.delete(f"/mj/task/{id}")).json()["code"] == 1
