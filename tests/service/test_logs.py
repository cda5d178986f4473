"""Serve's own log files, in JSON: a task can be followed from its submit to its hook, and nobody's secrets can be read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from tests.pictures import ASTRONAUT, GREY, HANKS
from tests.service.client import Client
from tests.service.conftest import Cluster
from tests.service.hook import listening


def lines(cluster: Cluster, task: str) -> list[dict[str, Any]]:
    """What the replicas logged about a task, oldest first."""
    found = []
    for path in cluster.logs.glob("replica_*.log"):
        for line in path.read_text().splitlines():
            record = json.loads(line)  # each of them
            if record.get("task") == task:
                found.append(record)
    return sorted(found, key=lambda record: record["asctime"])


def eventually(cluster: Cluster, task: str, fine: Callable[[list[str]], bool]) -> list[dict[str, Any]]:
    """The hook hears of a task a moment before the log does."""
    deadline, found = time.monotonic() + 10, lines(cluster, task)
    while not fine([record["message"] for record in found]):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
        found = lines(cluster, task)
    return found


def test_a_task_can_be_followed_from_its_submit_to_its_hook(client: Client, ray_cluster: Cluster) -> None:
    with listening() as hook:
        task = client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes(), notifyHook=f"{hook.url}?token=hooktoken", state="state words")
        hook.wait_for_end(task)
        found = eventually(ray_cluster, task, lambda said: any("SUCCESS delivered" in text for text in said))
    told = [(record["message"].replace(task, "ID").split(" after ")[0], record.get("stage"), record["deployment"]) for record in found]
    expected = [
        ("task ID accepted", "submit", "faceswap_Ingress"),
        ("task ID claimed, attempt 1", None, "faceswap_SwapPipeline"),
        ("task ID ended: made", None, "faceswap_SwapPipeline"),
    ]
    assert [each for each in told if each in expected] == expected
    host = hook.url.removeprefix("http://").removesuffix("/hook")
    assert (f"callback ID-SUCCESS delivered to {host} on try 1", "callback", "faceswap_Ingress") in told
    for record in found:
        assert record["key"] == "secret"
        assert record["replica"]
    everything = json.dumps(found, ensure_ascii=False)
    for private in (client.secret or "", "hooktoken", "state words", "base64"):
        assert private not in everything


def test_a_failure_says_its_class_and_its_key(client: Client, ray_cluster: Cluster) -> None:
    task = client.submit(HANKS.read_bytes(), GREY)
    assert client.finished(task)["status"] == "FAILURE"
    found = eventually(ray_cluster, task, lambda said: any("ended" in text for text in said))
    assert found[-1]["message"].startswith(f"task {task} ended: picture after ")
    assert found[-1]["key"] == "secret"
