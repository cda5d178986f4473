"""An accepted task ends, also when the process that worked on it dies."""

from __future__ import annotations

import os
import signal

import pytest

from tests.pictures import ASTRONAUT, head, png
from tests.service.client import Client
from tests.service.processes import named, replica


@pytest.mark.parametrize("deployment", ["SwapPipeline", "FaceDetector", "FaceSwapper", "Ingress"])
def test_every_accepted_task_succeeds_although_a_replica_is_killed(client: Client, deployment: str) -> None:
    target = png(head(0))
    tasks = [client.submit(ASTRONAUT.read_bytes(), target) for _ in range(6)]
    (victim, *_) = named(os.getsid(0), replica(deployment))
    os.kill(victim, signal.SIGKILL)
    ended = [client.finished(task) for task in tasks]
    assert [state["status"] for state in ended] == ["SUCCESS"] * 6
    # A lease is 30 s; the caller of a dead replica ends it at once.
    assert max(state["finishTime"] - state["submitTime"] for state in ended) < 25_000
