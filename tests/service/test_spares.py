"""Processes that wait for the next replica: real ones, of the session's cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ray.core.generated.node_manager_pb2 import GetNodeStatsRequest

from serve_app.deployments.nodes import alive
from serve_app.deployments.spares import SHORT_S, Spares, idle, raylet_of
from tests.service.client import Client
from tests.service.pipelines import process_of, site

WANTED = 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def waiting() -> set[int]:
    (node,) = alive()
    with raylet_of(node) as raylet:
        return set(idle(raylet.GetNodeStats(GetNodeStatsRequest(), timeout=10)))


async def until_there_are(number: int) -> set[int]:
    async with asyncio.timeout(60):
        while len(found := await asyncio.to_thread(waiting)) < number:
            await asyncio.sleep(0.2)
    return found


async def test_a_replica_starts_in_a_process_that_waited_and_another_takes_its_place(client: Client, tmp_path: Path) -> None:
    clock = Clock()
    spares = Spares(WANTED, lambda: True, clock)
    await spares.look()
    clock.now += SHORT_S
    await spares.look()
    before = await until_there_are(WANTED)
    async with site(tmp_path):
        replicas = {process_of(0), process_of(0, "FaceDetector"), process_of(0, "FaceSwapper")}
        assert len(replicas & before) == min(len(before), len(replicas))
        await spares.look()
        clock.now += SHORT_S
        await spares.look()
        assert not replicas & await until_there_are(WANTED)


async def test_no_more_are_asked_for_while_some_are_on_their_way(client: Client) -> None:
    clock = Clock()
    wanted = len(await asyncio.to_thread(waiting)) + 1
    spares = Spares(wanted, lambda: True, clock)
    for clock.now in (0.0, SHORT_S - 1, SHORT_S, SHORT_S + 1, 2 * SHORT_S - 1):
        await spares.look()
    assert len(await until_there_are(wanted)) == wanted
    clock.now += SHORT_S
    await spares.look()
    assert len(await asyncio.to_thread(waiting)) == wanted


async def test_only_the_chosen_replica_asks_and_none_where_none_are_wanted(client: Client) -> None:
    clock = Clock()
    before = await asyncio.to_thread(waiting)
    for spares in (Spares(64, lambda: False, clock), Spares(0, lambda: True, clock)):
        await spares.look()
        clock.now += SHORT_S
        await spares.look()
    assert len(await asyncio.to_thread(waiting)) <= len(before)
