"""Ports of one service alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from serve_app.deployments import ports

BLOCKS = range(20_000, 20_300, 100)


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = list[socket.socket]()
    monkeypatch.setattr(ports, "held", names)
    yield
    for name in names:
        name.close()


def test_each_service_of_a_machine_has_ports_of_its_own() -> None:
    assert sorted(ports.own_block(BLOCKS)[0] for _ in BLOCKS) == list(BLOCKS)
    with pytest.raises(OSError, match="20000 to 20299"):
        ports.own_block(BLOCKS)


def test_a_block_whose_last_port_is_taken_is_left_alone() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 20_099))
        assert ports.own_block(BLOCKS[:2])[0] == 20_100
