"""One run: load through the head's proxy, and workers that die or are cut off under it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import cv2
import numpy as np

from tests.faults.kinds import Fault, Kind
from tests.faults.load import Load
from tests.faults.promises import Evidence, answered, ended, final, once
from tests.faults.records import Records
from tests.nodes.network import Machine
from tests.nodes.world import SECRET, World
from tests.service.client import send

RATE = 2.0
ROUND_S = 60.0  # from one fault to the next, in a long run
CUT_S = 45.0  # longer than Ray waits before it takes a node for dead
DRAIN_S = 330.0


class Run:
    """seconds: how long faults are made, one a minute, at least one. Broken promises are in `broken` when it is over."""

    def __init__(self, world: World, seconds: float, seed: int, say: Callable[[str], None]) -> None:
        self.world, self.say = world, say
        self._rounds, self._chance = max(1, round(seconds / ROUND_S)), random.Random(seed)
        self._load = Load(world.base(world.head), RATE, random.Random(seed), headers={"mj-api-secret": SECRET})
        self._records = Records(world.database.url())
        self._faults: list[Fault] = []
        self.broken: list[str] = []

    async def run(self) -> None:
        for worker in self.world.workers:
            replicas = self.world.replicas(worker)
            self.say(f"{worker.name}: {replicas}")
            self._promise(set(replicas.values()) == {1}, f"replicas are not spread: {worker.name} has {replicas}")
        stop = asyncio.Event()
        watching, clients = asyncio.create_task(self._records.watch()), asyncio.create_task(self._load.run(stop, DRAIN_S))
        try:
            await self._ends(4)
            await self._open_everywhere(self.world.machines)
            for number in range(self._rounds):
                await self._fault(cut=number % 2 == 1, last=number == self._rounds - 1)
            stop.set()
            await clients
        finally:
            watching.cancel()
            clients.cancel()
            await asyncio.gather(watching, clients, return_exceptions=True)
        await self._records.look()
        evidence = Evidence(self._faults, self._load, self._records, await self.world.results(), [])
        for promise in (ended, final, once, answered):
            self.broken += promise(evidence)
        succeeded = sum(record.status == "SUCCESS" for record in self._records.latest.values())
        self.say(
            f"{self._load.submits} submits, {len(self._load.tasks)} accepted, {succeeded} in SUCCESS, "
            f"{sum(record.fence > 1 for record in self._records.latest.values())} claimed more than once"
        )

    async def _fault(self, *, cut: bool, last: bool) -> None:
        worker, loop = self._chance.choice(self.world.workers), asyncio.get_running_loop()
        kind, began = Kind(f"{worker.name} {'cut off' if cut else 'killed'}", lambda *_: None), loop.time()
        self._faults.append(Fault(kind, began, began))
        await asyncio.to_thread(worker.cut if cut else self.world.kill, *(() if cut else (worker,)))
        if cut:
            await asyncio.sleep(CUT_S)
        await self._ends(4)
        self.say(f"{kind.name}: four of the tasks submitted since have ended after {loop.time() - began:.1f} s")
        await self._open_everywhere([machine for machine in self.world.machines if machine is not worker])
        if last and not cut:
            return
        if cut:
            worker.join()
            await asyncio.to_thread(self.world.kill, worker)  # a raylet that was taken for dead ends by itself; so all of it is gone
        self.world.start_node(worker)
        await asyncio.to_thread(self.world.wait_for, [worker])
        self.say(f"{worker.name}: works again {loop.time() - began:.1f} s after it went")
        await asyncio.sleep(max(0.0, began + ROUND_S - loop.time()))

    async def _ends(self, number: int) -> None:
        """So many of the tasks that are submitted from now on have ended."""
        first = self._load.submits
        async with asyncio.timeout(DRAIN_S):
            while sum(seen.number >= first and seen.end is not None for seen in self._load.tasks) < number:
                await asyncio.sleep(0.1)

    async def _open_everywhere(self, machines: list[Machine]) -> None:
        """Results that are there, through the proxies of these."""
        done = [seen.end for seen in self._load.tasks if seen.end is not None and seen.picture is not None][-3:]
        self._promise(bool(done), "there is no result yet")
        for machine in machines:
            for end in done:
                path = end["imageUrl"].removeprefix(self.world.base(self.world.head))
                answer = await asyncio.to_thread(send, "GET", self.world.base(machine) + path)
                opens = answer.status_code == 200 and cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR) is not None
                self._promise(opens, f"{path} does not open through {machine.name}: {answer.status_code}")

    def _promise(self, kept: bool, what: str) -> None:
        if not kept:
            self.broken.append(what)
