"""api/errors.py: faults of ours are answered in JSON and tell nothing private."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serve_app.api.app import ApiConfig
from serve_app.tasks.task import Task
from tests.api.support import SWAP, Service, build, sample, swap_body


async def test_a_lost_database_is_a_503(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    id = (await service.submit())["result"]
    name = await service.finish(id, sample(9))
    service.drop()
    before = set(service.stored())
    submit = await service.client.post(SWAP, json=swap_body(state="private words"))
    assert (submit.status_code, submit.json()["code"], submit.json()["description"]) == (503, 9, "提交失败，系统异常")
    assert submit.json()["result"] is None
    assert set(service.stored()) == before
    for method, path in (("GET", f"/mj/task/{id}/fetch"), ("POST", "/mj/task/list-by-condition"), ("GET", f"/mj/image/{name}")):
        response = await service.client.request(method, path, json={"ids": [id]})
        assert (response.status_code, response.json()["code"], response.json()["error"]) == (503, 9, "Service Unavailable")
    assert "OperationalError" in caplog.text
    assert "private words" not in caplog.text


async def test_a_lost_folder_of_pictures_is_a_503_and_leaves_no_task(service: Service) -> None:
    shutil.rmtree(service.folder / "blobs")
    (service.folder / "blobs").write_bytes(b"a file where the folder was")
    response = await service.client.post(SWAP, json=swap_body())
    assert (response.status_code, response.json()["code"]) == (503, 9)
    assert await service.store.count_unfinished() == 0
    assert not service.accepted


async def test_an_unexpected_fault_is_a_500_in_json(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> dict[str, object]:
        raise ValueError("private words")

    service = build(tmp_path, ApiConfig(), health=broken)
    async with service.client as client:
        response = await client.get("/health", headers={"origin": "https://page.example"})
    await service.database.close()
    assert response.status_code == 500
    assert response.json() == {"code": 9, "description": "系统异常", "result": None, "properties": {}, "error": "Internal Server Error"}
    assert response.headers["access-control-allow-origin"] == "*"
    assert "ValueError" in caplog.text
    assert "test_errors.py" in caplog.text
    assert "private words" not in caplog.text.replace('raise ValueError("private words")', "")


async def test_a_listener_that_fails_does_not_lose_the_task(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def deaf(_task: Task) -> None:
        raise RuntimeError("private words")

    service = build(tmp_path, ApiConfig(allow_open=True), on_accepted=deaf)
    async with service.client:
        body = await service.submit()
        assert body["code"] == 1
        assert (await service.fetch(body["result"]))["status"] == "NOT_START"
    await service.database.close()
    assert "on_accepted failed: RuntimeError" in caplog.text
