"""The faults: what each one kills, and when, by a seed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.world import World
from tests.service.processes import CONTROLLER, PROXY, replica

DOWN_S = 2.0  # how long a database or a picture store stays away


@dataclass(frozen=True, slots=True)
class Kind:
    """work(world, random) returns when the fault is over; what died may still be on its way back.

    cuts: clients may see connections that break. refuses: they may be answered 503 with code 9. Otherwise they must see nothing.
    """

    name: str
    work: Callable[[World, random.Random], None]
    cuts: bool = False
    refuses: bool = False
    takes_s: float = 0.0  # about


@dataclass(frozen=True, slots=True)
class Fault:
    """One that was made. Times of `time.monotonic()`."""

    kind: Kind
    began: float
    over: float


def make(kind: Kind, world: World, chance: random.Random) -> Fault:
    began = time.monotonic()
    kind.work(world, chance)
    return Fault(kind, began, time.monotonic())


def _killing(start: str) -> Callable[[World, random.Random], None]:
    def kill(world: World, chance: random.Random) -> None:
        os.kill(chance.choice(world.processes(start)), signal.SIGKILL)

    return kill


def _proxy(world: World, chance: random.Random) -> None:
    _killing(PROXY)(world, chance)
    world.wait_until_ready()


def _everything(world: World, chance: random.Random) -> None:
    world.kill_service()
    world.start_service()


def _database(world: World, chance: random.Random) -> None:
    world.database.stop(signal.SIGQUIT)
    time.sleep(DOWN_S)
    world.database.start()


def _pictures(world: World, chance: random.Random) -> None:
    world.pictures.stop(signal.SIGKILL)
    time.sleep(DOWN_S)
    world.pictures.start()


KINDS = (
    Kind("Ingress", _killing(replica("Ingress"))),
    Kind("SwapPipeline", _killing(replica("SwapPipeline"))),
    Kind("FaceDetector", _killing(replica("FaceDetector"))),
    Kind("FaceSwapper", _killing(replica("FaceSwapper"))),
    Kind("proxy", _proxy, cuts=True, takes_s=5.0),
    Kind("controller", _killing(CONTROLLER)),
    Kind("everything", _everything, cuts=True, refuses=True, takes_s=20.0),
    Kind("database", _database, refuses=True, takes_s=DOWN_S + 1),
    Kind("pictures", _pictures, refuses=True, takes_s=DOWN_S + 3),
)


def schedule(seconds: float, chance: random.Random) -> list[tuple[float, Kind]]:
    """Each kind once a minute, or once in all where it is less, in any order: (seconds after the last one was over, kind)."""
    rounds = max(1, round(seconds / 60))
    kinds = [kind for _ in range(rounds) for kind in chance.sample(KINDS, len(KINDS))]
    room = seconds - sum(kind.takes_s for kind in kinds)
    return [(max(2.0, room / len(kinds)) * chance.uniform(0.6, 1.4), kind) for kind in kinds]
