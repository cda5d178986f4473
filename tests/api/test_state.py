"""api/state.py: /health says what runs, /ready whether a submit would be accepted."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from serve_app.api import state
from serve_app.tasks.room import Bounds
from tests.api.support import MakeService, Service


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """/ready is not answered from what was seen a moment ago."""
    monkeypatch.setattr(state, "_FRESH_S", -1.0)


async def trouble(service: Service) -> str:
    """The one thing that /ready complains of. A submit is refused then too."""
    response = await service.client.get("/ready")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    body = response.json()
    assert body["status"] == "not ready"
    (found,) = body["troubles"]
    refused = (await service.post()).json()
    assert refused["code"] in (9, 23)
    health = await service.client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert isinstance(found, str)
    return found


async def ready(service: Service) -> Any:
    response = await service.client.get("/ready")
    return (response.status_code, response.json())


async def test_health(service: Service) -> None:
    response = await service.client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "family": "fake", "room": {}})
    assert (await service.client.head("/health")).status_code == 200


async def test_health_says_how_much_room_was_found(make_service: MakeService) -> None:
    service = await make_service(bounds=Bounds(5))
    await service.submit()
    assert (await service.client.get("/health")).json()["room"] == {"unfinished": 5, "tasks_per_second": None}


async def test_ready(service: Service) -> None:
    assert await ready(service) == (200, {"status": "ready", "troubles": []})
    assert (await service.client.head("/ready")).status_code == 200
    assert service.stored() == []  # what was tried is gone again


async def test_a_database_that_is_gone(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    service.drop()
    assert "database" in await trouble(service)


async def test_a_folder_of_pictures_that_is_gone(service: Service) -> None:
    folder = (service.folder / "blobs").rename(service.folder / "away")
    (service.folder / "blobs").write_bytes(b"a file where the folder was")
    assert await trouble(service) == "pictures cannot be stored: not a directory"
    (service.folder / "blobs").unlink()
    assert await trouble(service) == "pictures cannot be stored: the folder is gone, or another is mounted there"
    folder.rename(service.folder / "blobs")
    assert (await ready(service))[0] == 200
    assert (await service.submit())["code"] == 1


async def test_a_full_queue(make_service: MakeService) -> None:
    service = await make_service(bounds=Bounds(2))
    first = (await service.submit())["result"]
    assert (await ready(service))[0] == 200
    await service.submit()
    assert await trouble(service) == "the queue is full: 2 tasks are unfinished"
    await service.post(f"/mj/task/{first}/cancel", {})
    assert (await ready(service))[0] == 200


async def test_a_database_that_cannot_be_written_to(service: Service) -> None:
    """A reader is let through while another process holds the write lock: that is no trouble of ours."""
    with closing(sqlite3.connect(service.folder / "tasks.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (await ready(service))[0] == 200
        other.execute("ROLLBACK")


async def test_many_who_ask_at_once_are_answered_by_one_look(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_FRESH_S", 60.0)
    looks = 0
    probe = service.blobs.probe

    async def counted() -> None:
        nonlocal looks
        looks += 1
        await probe()

    monkeypatch.setattr(service.blobs, "probe", counted)
    answers = await asyncio.gather(*(ready(service) for _ in range(50)))
    assert {status for status, _ in answers} == {200}
    assert looks == 1
