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
from tests.faults.receiver import FOR_EVER, Receiver, receiving
from tests.faults.records import Records
from tests.faults.world import World

RATE = 2.0
SHORT_S = 60.0  # so short a run is made where nobody waits for long
HOOKS_S, LONG_HOOKS_S = 240.0, 1800.0  # for hooks to hear of all, in a short run of one that hears a state after three failures
DRAIN_S = 330.0  # no task may take longer than limits.deadline_s, and some time to notice


def run(world: World, seconds: float, seed: int, say: Callable[[str], None] = lambda _: None) -> Evidence:
    """On a world that is started and has no tasks; afterwards it is whole again."""
    patience = 3 if seconds <= SHORT_S else FOR_EVER
    with tempfile.TemporaryDirectory(prefix="faults-hook-") as folder, receiving(Path(folder), seed, patience) as hook:
        return asyncio.run(_run(world, hook, seconds, random.Random(seed), say))


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
        await records.nothing_owed(HOOKS_S if seconds <= SHORT_S else LONG_HOOKS_S)
    finally:
        watching.cancel()
        clients.cancel()
        await asyncio.gather(watching, clients, return_exceptions=True)
    await records.look()
    return Evidence(faults, load, records, await world.results(), hook.heard())
