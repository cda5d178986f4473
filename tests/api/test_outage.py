"""The database goes away, or has no room: submits are refused wholly, and all goes on by itself when it is back."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sqlalchemy import text

from serve_app.api import state
from serve_app.tasks.room import Bounds
from tests.api.support import MakeService, Service
from tests.postgres import Postgres


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """/ready is not answered from what was seen a moment ago."""
    monkeypatch.setattr(state, "_FRESH_S", -1.0)


async def refused(service: Service, stored: set[Path], trouble: str) -> None:
    """A submit is told so, and leaves nothing behind. trouble: what /ready says of it."""
    response = await service.post()
    body = response.json()
    assert (response.status_code, body["code"], body["description"], body["result"]) == (503, 9, "提交失败，系统异常", None)
    assert int(response.headers["retry-after"]) > 0
    assert set(service.stored()) == stored
    ready = await service.client.get("/ready")
    (said,) = ready.json()["troubles"]
    assert trouble in said
    assert (await service.client.get("/health")).status_code == 200


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
async def test_a_database_that_goes_away_and_comes_back(make_service: MakeService, own_server: Postgres, how: signal.Signals) -> None:
    service = await make_service(where=own_server.create(), bounds=Bounds(9))
    first = (await service.submit())["result"]
    stored = set(service.stored())
    own_server.stop(how)
    for _ in range(2):
        await refused(service, stored, "the task database does not answer")
    fetched = await service.client.get(f"/mj/task/{first}/fetch")
    assert (fetched.status_code, fetched.json()["code"]) == (503, 9)
    own_server.start()
    assert (await service.fetch(first))["status"] == "NOT_START"
    assert (await service.client.get("/ready")).status_code == 200
    assert (await service.submit())["code"] == 1
    assert await service.store.count_unfinished() == 2


async def test_a_database_file_that_cannot_grow(make_service: MakeService) -> None:
    """As on a full disk."""
    service = await make_service()
    pragma = "pragma max_page_count = {}"
    pages = await service.database.read(lambda connection: connection.execute(text("pragma page_count")).scalar_one())
    await service.database.read(lambda connection: connection.execute(text(pragma.format(pages))).close())
    accepted = 0
    while (await service.post()).status_code == 200:  # as long as there is room on the pages that there are
        accepted += 1
        assert accepted < 1000
    stored, rows = set(service.stored()), service.rows()
    assert len(stored) == 2 * accepted
    await refused(service, stored, "the task database takes no tasks (database or disk is full)")
    assert service.rows() == rows
    assert (await service.client.get("/mj/task/queue")).status_code == 200, "what is there can be seen"
    await service.database.read(lambda connection: connection.execute(text(pragma.format(1_000_000))).close())
    assert (await service.submit())["code"] == 1
    assert service.rows() > rows
    assert (await service.client.get("/ready")).status_code == 200
