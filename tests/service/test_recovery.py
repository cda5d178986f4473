"""An accepted task ends, also when the process that worked on it dies."""

from __future__ import annotations

import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.pictures import ASTRONAUT, data_url, head, png
from tests.service.client import Client
from tests.service.processes import named, replica


@pytest.mark.parametrize("deployments", [("SwapPipeline",), ("FaceDetector", "FaceSwapper")], ids="-".join)
def test_every_accepted_task_succeeds_although_replicas_are_killed(client: Client, deployments: tuple[str, ...]) -> None:
    target = png(head(0))
    tasks = [client.submit(ASTRONAUT.read_bytes(), target) for _ in range(6)]
    for deployment in deployments:
        (victim, *_) = named(os.getsid(0), replica(deployment))
        os.kill(victim, signal.SIGKILL)
    ended = [client.finished(task) for task in tasks]
    assert [state["status"] for state in ended] == ["SUCCESS"] * 6
    # A lease is 30 s; the caller of a dead replica ends it at once.
    assert max(state["finishTime"] - state["submitTime"] for state in ended) < 25_000


def test_no_client_sees_that_every_ingress_is_killed_and_no_submit_makes_two_tasks(client: Client) -> None:
    """Clients that wait for their result, so that all of them have a request under way."""
    name, picture = uuid.uuid4().hex, png(head(1))

    def submitted(number: int) -> httpx2.Response:
        body = {"sourceBase64": data_url(ASTRONAUT.read_bytes()), "targetBase64": data_url(picture), "state": f"{name}-{number}"}
        return client.request("POST", "/mj/insight-face/swap", json=body, headers={"Prefer": "wait=50"})

    def made() -> list[str]:
        return [task["id"] for task in client.request("GET", "/mj/task/list").json() if str(task["state"]).startswith(name)]

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(submitted, number) for number in range(8)]
        while not made():
            time.sleep(0.01)
        for victim in named(os.getsid(0), replica("Ingress")):
            os.kill(victim, signal.SIGKILL)
        said = [answer.result().json() for answer in answers]
    assert [(one["code"], one["task"]["status"]) for one in said] == [(1, "SUCCESS")] * 8
    assert sorted(made()) == sorted(one["result"] for one in said)
