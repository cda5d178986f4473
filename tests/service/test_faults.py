"""The service on PostgreSQL and S3, broken on purpose: `make faults` in its short form, and stores that go away in the midst of work."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx2
import pytest

from tests.faults.kinds import KINDS
from tests.faults.promises import broken
from tests.faults.report import page
from tests.faults.run import run
from tests.faults.world import World
from tests.pictures import ASTRONAUT, data_url, head, jpeg, read
from tests.postgres import Postgres
from tests.s3 import S3
from tests.service.client import Client
from tests.service.processes import replica

SEED = 5
PROXY_BACK_S = 25.0  # `make faults` asks for 8; a new proxy is mostly processor time, of which other work may take most
TASKS = 20  # more than are worked on at a time
PATIENCE_S = 30.0
MODELS_S = 3.0


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with contextlib.closing(World()) as world:
        world.start()
        yield world


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_whatever_is_killed_every_promise_is_kept(
    world: World, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    """Every part of the service once. It comes first, for it looks at all tasks that there are."""
    seconds = request.config.getoption("--fault-seconds")
    evidence = replace(run(world, seconds, SEED), proxy_back_s=PROXY_BACK_S)
    figures = page(evidence, seconds, SEED)
    record_property("figures", figures)
    assert not broken(evidence), f"{figures}\n{broken(evidence)}"
    assert {fault.kind for fault in evidence.faults} == set(KINDS)
    assert len(evidence.load.tasks) > seconds / 2, figures


@pytest.fixture(params=["database", "pictures"])
def store(request: pytest.FixtureRequest, world: World) -> Postgres | S3:
    found: Postgres | S3 = getattr(world, request.param)
    return found


def test_while_a_store_is_away_the_service_says_so_and_afterwards_goes_on(world: World, store: Postgres | S3) -> None:
    client, before = Client(world.base), world.processes("ray::")
    body = {"sourceBase64": data_url(jpeg(read(ASTRONAUT))), "targetBase64": data_url(jpeg(head(0)))}
    tasks = [client.submit(ASTRONAUT.read_bytes(), jpeg(head(0))) for _ in range(TASKS)]

    at_work: list[str] = []  # a claim that is being committed when the database goes may be made again: nobody knows of it

    def is_at_work() -> bool:
        at_work.extend(state["id"] for state in client.request("GET", "/mj/task/queue").json() if state["status"] == "IN_PROGRESS")
        if not at_work:
            tasks.append(client.submit(ASTRONAUT.read_bytes(), jpeg(head(0))))  # all of them may have ended by now
        return bool(at_work)

    until(is_at_work)
    store.stop(signal.SIGQUIT if isinstance(store, Postgres) else signal.SIGKILL)
    try:
        refused = client.request("POST", "/mj/insight-face/swap", json=body)
        assert refused.status_code == 503, refused.text
        assert (refused.json()["code"], refused.json()["result"]) == (9, None)
        assert int(refused.headers["retry-after"]) > 0
        if isinstance(store, Postgres):
            assert client.request("GET", f"/mj/task/{tasks[0]}/fetch").json()["code"] == 9
        (trouble,) = ready(client, 503).json()["troubles"]
        assert ("database" if isinstance(store, Postgres) else "pictures") in trouble
        assert client.request("GET", "/health").status_code == 200
        time.sleep(MODELS_S)  # what is worked on has been through the models, and cannot be written
    finally:
        store.start()
    ended = [client.finished(task) for task in tasks]
    assert [state["status"] for state in ended] == ["SUCCESS"] * len(tasks), ended
    assert all(client.picture(state) for state in ended)
    ready(client, 200)
    assert client.swap(ASTRONAUT.read_bytes(), jpeg(head(1)))
    assert set(world.processes(replica(""))) <= set(before), "nothing was restarted"
    assert fences(world, at_work) == {1}, "what was worked on when it went away was not begun anew"


def ready(client: Client, status: int) -> httpx2.Response:
    """The first answer of /ready that has it; each replica finds out by itself."""
    answers: list[httpx2.Response] = []

    def found() -> bool:
        answers.append(client.request("GET", "/ready"))
        return answers[-1].status_code == status

    until(found)
    return answers[-1]


def until(held: Callable[[], bool]) -> None:
    """Until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not held():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def fences(world: World, tasks: list[str]) -> set[int]:
    """How often these were claimed."""
    rows = world.database.run(lambda connection: connection.fetch("select fence from tasks where id = any($1)", tasks))
    return {row["fence"] for row in rows}
