"""api/errors.py and docs/api.md: faults of ours are answered in JSON and tell nothing private, and every answer is documented."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from serve_app.api.app import ApiConfig
from serve_app.api.errors import Answer
from serve_app.api.routes import _MAX_LIST_BYTES
from serve_app.api.schema import SwapBody
from serve_app.settings import Limits
from serve_app.tasks.task import Task
from tests.api.support import SWAP, Service, build, sample, swap_body

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()


def drop_tables(folder: Path) -> None:
    with sqlite3.connect(folder / "tasks.db") as connection:
        connection.execute("DROP TABLE tasks")
    connection.close()


async def test_a_lost_database_is_a_503(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    id = (await service.submit())["result"]
    name = await service.finish(id, sample(9))
    drop_tables(service.folder)
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

    service = build(tmp_path, ApiConfig(), on_accepted=deaf)
    async with service.client:
        body = await service.submit()
        assert body["code"] == 1
        assert (await service.fetch(body["result"]))["status"] == "NOT_START"
    await service.database.close()
    assert "on_accepted failed: RuntimeError" in caplog.text


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of the first table below a heading of the page."""
    part = DOCS.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.+) \|$", part, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in row.split(" | ")] for row in rows[1:]]


def test_the_page_and_the_code_have_the_same_answers() -> None:
    rows = table("Every answer that is not a task or a picture")
    documented = {name: (int(status), int(code), description) for name, status, code, description, _ in rows}
    assert documented == {answer.name: (answer.status, answer.code, answer.description) for answer in Answer}
    assert len({answer.name for answer in Answer}) == len(Answer.__members__)  # no two are one by accident


def test_the_page_and_the_code_have_the_same_routes(service: Service) -> None:
    documented = {(method, path) for method, path, _ in table("Routes")}
    real = {(method, route.path) for route in service.app.routes for method in route.methods - {"HEAD"}}  # type: ignore[attr-defined]
    assert documented == real


def test_the_page_has_every_member_of_a_submit_and_the_limits() -> None:
    documented = {name for row in table("Asking for a swap") for name in re.findall(r"\w+", row[0])}
    assert documented == {field.alias for field in SwapBody.model_fields.values()}
    limits = ApiConfig().limits
    assert f"{limits.max_body_bytes:,} bytes" in DOCS
    assert f"{limits.max_image_bytes // 2**20} MiB" in DOCS
    assert f"{limits.max_pixels // 10**6} million pixels" in DOCS
    assert f"up to {limits.max_state:,} characters" in DOCS
    assert f"needs {limits.min_side} pixels" in DOCS
    assert f"`limits.max_waiting` tasks ({Limits().max_waiting:,} unless set otherwise)" in DOCS
    assert f"a body of at most {_MAX_LIST_BYTES:,} bytes" in DOCS


async def test_the_example_of_a_task_has_the_members_of_a_real_one(service: Service) -> None:
    (text,) = re.findall(r"^## A task\n\n```json\n(.+?)```", DOCS, re.MULTILINE | re.DOTALL)
    example = json.loads(text)
    real = await service.fetch((await service.submit())["result"])
    assert example.keys() == real.keys()
    assert example["displays"].keys() == real["displays"].keys()
    added = {row[0].removeprefix("properties.") for row in table("A task")}
    assert example["properties"].keys() == real["properties"].keys() | added
    assert list(example["properties"]["faces"]) == ["source", "target"]
