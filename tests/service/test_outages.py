"""The database or the picture store goes away and comes back, over HTTP: the service says so, and goes on without a restart."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.world import World
from tests.pictures import ASTRONAUT, data_url, head, jpeg, read
from tests.postgres import Postgres
from tests.s3 import S3
from tests.service.client import Client
from tests.service.processes import replica

TASKS = 8  # more than are worked on at a time
PATIENCE_S = 30.0
MODELS_S = 3.0


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with contextlib.closing(World(replicas=1, seconds=0.5)) as world:
        world.start()
        yield world


@pytest.fixture(params=["database", "pictures"])
def store(request: pytest.FixtureRequest, world: World) -> Postgres | S3:
    found: Postgres | S3 = getattr(world, request.param)
    return found


def test_while_a_store_is_away_the_service_says_so_and_afterwards_goes_on(world: World, store: Postgres | S3) -> None:
    client, before = Client(world.base), world.processes("ray::")
    body = {"sourceBase64": data_url(jpeg(read(ASTRONAUT))), "targetBase64": data_url(jpeg(head(0)))}
    tasks = [client.submit(ASTRONAUT.read_bytes(), jpeg(head(0))) for _ in range(TASKS)]
    until(lambda: client.fetch(tasks[0])["status"] == "IN_PROGRESS")
    store.stop(signal.SIGQUIT if isinstance(store, Postgres) else signal.SIGKILL)
    try:
        refused = client.request("POST", "/mj/insight-face/swap", json=body)
        assert refused.status_code == 503, refused.text
        assert (refused.json()["code"], refused.json()["result"]) == (9, None)
        assert int(refused.headers["retry-after"]) > 0
        if isinstance(store, Postgres):
            assert client.request("GET", f"/mj/task/{tasks[0]}/fetch").json()["code"] == 9
        until(lambda: client.request("GET", "/ready").status_code == 503)
        (trouble,) = client.request("GET", "/ready").json()["troubles"]
        assert ("database" if isinstance(store, Postgres) else "pictures") in trouble
        assert client.request("GET", "/health").status_code == 200
        time.sleep(MODELS_S)  # what is worked on has been through the models, and cannot be written
    finally:
        store.start()
    ended = [client.finished(task) for task in tasks]
    assert [state["status"] for state in ended] == ["SUCCESS"] * TASKS, ended
    assert all(client.picture(state) for state in ended)
    until(lambda: client.request("GET", "/ready").status_code == 200)
    assert client.swap(ASTRONAUT.read_bytes(), jpeg(head(1)))
    assert world.processes(replica("")) == [pid for pid in before if pid in world.processes(replica(""))], "nothing was restarted"
    assert fences(world, tasks) == {1}, "what was worked on when it went away was not begun anew"


def until(held: Any) -> None:
    """Until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not held():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def fences(world: World, tasks: list[str]) -> set[int]:
    """How often these were claimed."""
    rows = world.database.run(lambda connection: connection.fetch("select fence from tasks where id = any($1)", tasks))
    return {row["fence"] for row in rows}
