"""One run: the world, the load, the faults, and what is left of it all."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.faults.kinds import Fault, make, schedule
from tests.faults.load import Load
from tests.faults.promises import Evidence
from tests.faults.receiver import Receiver, receiving
from tests.faults.records import Records
from tests.faults.world import World

RATE = 2.0
HOOKS_S = 120.0  # a hook that fails as often as this one has heard of all by then
DRAIN_S = 330.0  # no task may take longer than limits.deadline_s, and some time to notice


def run(seconds: float, seed: int, say: Callable[[str], None] = lambda _: None) -> Evidence:
    world = World()
    try:
        world.start()
        with tempfile.TemporaryDirectory(prefix="faults-hook-") as folder, receiving(Path(folder), seed) as hook:
            return asyncio.run(_run(world, hook, seconds, random.Random(seed), say))
    finally:
        world.close()


async def _run(world: World, hook: Receiver, seconds: float, chance: random.Random, say: Callable[[str], None]) -> Evidence:
    load = Load(world.base, RATE, random.Random(chance.random()), {"notifyHook": hook.url})
    records = Records(world.database.url())
    faults: list[Fault] = []
    stop = asyncio.Event()
    watching, clients = asyncio.create_task(records.watch()), asyncio.create_task(load.run(stop, DRAIN_S))
    try:
        for pause_s, kind in schedule(seconds, chance):
            await asyncio.sleep(pause_s)
            fault = await asyncio.to_thread(make, kind, world, chance)
            faults.append(fault)
            say(f"{kind.name}: {fault.over - fault.began:.1f} s")
        await asyncio.sleep(2.0)
        stop.set()
        await clients
        await records.nothing_owed(HOOKS_S)
    finally:
        watching.cancel()
        clients.cancel()
        await asyncio.gather(watching, clients, return_exceptions=True)
    await records.look()
    return Evidence(faults, load, records, await world.results(), hook.heard())
