"""A running service becomes another one: replica by replica where its version is another, and without that where a setting is live."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ray.serve.schema import ServeDeploySchema

from serve_app.deployments import cluster
from tests.faults.load import Load
from tests.pictures import ASTRONAUT, HANKS, data_url, jpeg, read
from tests.service.client import Client
from tests.service.conftest import SECRET
from tests.service.processes import named, replica

DEPLOYMENTS = ("Ingress", "SwapPipeline", "FaceDetector", "FaceSwapper")
DRAIN_S = 60.0


def replicas() -> dict[str, set[int]]:
    return {name: set(named(os.getsid(0), replica(name))) for name in DEPLOYMENTS}


async def test_an_upgrade_under_load_fails_no_request_and_loses_no_task(client: Client, config: ServeDeploySchema) -> None:
    """Changed `args` are another version to Serve, as other code is: every replica is replaced."""
    before = replicas()
    config.applications[0].args["ingress"]["sweep_period_s"] += 1  # and so it stays, for the other tests
    faces = [data_url(jpeg(read(path)[::2, ::2])) for path in (ASTRONAUT, HANKS)]
    bodies = [{"sourceBase64": source, "targetBase64": target} for source, target in (faces, faces[::-1])]
    load = Load(client.base, 1.0, random.Random(3), headers={"mj-api-secret": SECRET}, bodies=bodies)
    stop = asyncio.Event()
    clients = asyncio.create_task(load.run(stop, DRAIN_S))
    await _when(lambda: any(seen.end for seen in load.tasks), load)
    await asyncio.to_thread(cluster.deploy, config)
    upgraded = len(load.tasks)
    await _when(lambda: len(load.tasks) > upgraded + 2, load)
    stop.set()
    await clients
    after = replicas()
    assert [before[name] & after[name] for name in DEPLOYMENTS] == [set()] * 4, "all of them are others now"
    assert {name: len(ids) for name, ids in after.items()} == {name: len(ids) for name, ids in before.items()}
    assert load.troubles == [], "no client saw anything of it"
    assert load.given_up == 0
    assert load.wrong == []
    assert len(load.tasks) == load.submits
    ends = Counter((seen.end["status"], seen.end["failReason"]) if seen.end else None for seen in load.tasks)
    assert ends == {("SUCCESS", None): load.submits}
    assert all(seen.picture for seen in load.tasks)


async def _when(said: Callable[[], bool], load: Load) -> None:
    until = time.monotonic() + DRAIN_S
    while not said():
        assert time.monotonic() < until, f"{load.submits} submits, tasks {load.tasks}, troubles {load.troubles}"
        await asyncio.sleep(0.05)


@contextmanager
def changed(config: ServeDeploySchema, **changes: dict[str, Any]) -> Iterator[None]:
    """`user_config` of some deployments, and then what they had from `args`."""
    other = config.model_copy(deep=True)
    args = config.applications[0].args
    back = other.model_copy(deep=True)
    for document, undo in ((other, False), (back, True)):
        for deployment in document.applications[0].deployments:
            if deployment.name in changes:
                groups = changes[deployment.name]
                deployment.user_config = {
                    group: args[group] and {name: args[group][name] for name in of} if undo else of for group, of in groups.items()
                }
    cluster.deploy(other)
    try:
        yield
    finally:
        cluster.deploy(back)


def test_limits_and_batch_sizes_change_without_a_restart(client: Client, config: ServeDeploySchema) -> None:
    before, source, target = replicas(), HANKS.read_bytes(), ASTRONAUT.read_bytes()
    fine = len(client.swap(source, target, options={"output": {"format": "jpeg"}}))
    changes: dict[str, dict[str, Any]] = {
        "Ingress": {"limits": {"max_state": 3}},
        "SwapPipeline": {"pipeline": {"quality": 50, "in_flight": 1}},
        "FaceSwapper": {"swapper": {"buckets": [1]}},
    }
    with changed(config, **changes):
        for _ in range(8):  # whichever of the two is asked
            body = {"sourceBase64": "x", "targetBase64": "x", "state": "1234"}
            answer = client.request("POST", "/mj/insight-face/swap", json=body).json()
            assert answer["properties"]["field"] == "state", answer
        coarse = len(client.swap(source, target, options={"output": {"format": "jpeg"}}, state="123"))
        assert coarse < 0.6 * fine
        assert replicas() == before
    assert client.submit(source, target, state="1234")
    assert replicas() == before


def test_a_user_config_that_cannot_be_is_refused_and_the_service_goes_on(client: Client, config: ServeDeploySchema) -> None:
    """Serve itself would replace the replicas that refuse it, one after the other, until there is none."""
    before = replicas()
    wrong = config.model_copy(deep=True)
    for deployment in wrong.applications[0].deployments:
        deployment.user_config = {"detector": {"threads": 3}}
    cluster.deploy(wrong)
    assert client.swap(HANKS.read_bytes(), ASTRONAUT.read_bytes())
    assert replicas() == before


@pytest.mark.parametrize(("deployment", "wrong", "said"), [("Ingress", {"limits": {"max_stat": 1}}, "limits.max_stat")])
def test_a_wrong_one_in_a_file_is_named_before_anything_starts(deployment: str, wrong: Any, said: str, tmp_path: Any) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(
        "applications: [{name: a, route_prefix: /, import_path: 'serve_app.app:build', args: {family: fake}, "
        f"deployments: [{{name: {deployment}, user_config: {wrong}}}]}}]"
    )
    with pytest.raises(ValueError, match=said):
        cluster.load_config(file)
