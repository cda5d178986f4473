"""The suite in two lanes, for two cores (`pytest -n 2`): the tests of a running service in one process, all others in a second one.

Tests that measure are marked `alone`: nothing else is tested meanwhile.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest
from execnet.gateway_base import Channel, RemoteError
from xdist.scheduler import LoadScopeScheduling

# What needs the Ray cluster, of which there is one; and what else is marked `alone`, so that such tests do not wait for each other.
SERVICE = ("tests/service/", "tests/test_hooks_benchmark.py", "tests/test_store_benchmark.py")
STOP_S = 120.0
DOOR, ROOM = Path(__file__), Path(__file__).with_name("conftest.py")  # any two files will do to be locked


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out tests by the file, so that what a file shares is made once, and those of SERVICE as one."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        config.option.loadscopereorder = False  # as `order` has them
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return "service" if nodeid.startswith(SERVICE) else nodeid.partition("::")[0]


class Node(Protocol):
    """A lane, as pytest-xdist's main process knows it."""

    channel: Channel


running: list[Node] = []


def wait() -> None:
    """Until all lanes are done. Ctrl-C reaches them too, and to stop what they have started may take longer than pytest-xdist lets them."""
    for node in running:
        with suppress(RemoteError, EOFError, OSError):  # OSError: STOP_S are over
            node.channel.waitclose(STOP_S)


def order(items: list[pytest.Item]) -> None:
    """The longest lane first."""
    items.sort(key=lambda item: not item.nodeid.startswith(SERVICE))


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Beside other tests, or with none beside this one. Who waits to be alone lets nobody else begin, and so does not wait for long."""
    with DOOR.open() as door, ROOM.open() as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
