"""Ports of one service alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from benchmarks import service
from serve_app.deployments import ports

BLOCKS = range(15_000, 15_300, 100)  # below those of the services and tests that run now


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = list[socket.socket]()
    monkeypatch.setattr(ports, "held", names)
    yield
    for name in names:
        name.close()


def test_each_service_of_a_machine_has_ports_of_its_own() -> None:
    assert sorted(ports.own_block(BLOCKS)[0] for _ in BLOCKS) == list(BLOCKS)
    with pytest.raises(OSError, match="15000 to 15299"):
        ports.own_block(BLOCKS)


def test_a_block_whose_last_port_is_taken_is_left_alone() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 15_099))
        assert ports.own_block(BLOCKS[:2])[0] == 15_100


def test_no_two_callers_of_free_port_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "own_block", lambda: ports.own_block(BLOCKS))
    monkeypatch.setattr(service, "_ports", [])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 15_000))
        given = [service.free_port() for _ in range(250)]
    assert len(set(given)) == 250
    assert set(given) < {*range(15_000, 15_300)} - {15_000}
