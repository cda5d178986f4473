"""Ports that must never be reached from outside of the cluster: docs/security.md."""

from __future__ import annotations

from collections.abc import Container, Iterable

NEVER_PUBLIC = {
    6379: "Ray's head (GCS): who may speak to it runs code on every node",
    8265: "Ray's dashboard and its REST interface: deploys applications, runs jobs, shows logs",
    10001: "Ray's client server: runs whatever is sent to it",
    52365: "Ray's agent of a node: its logs and jobs",
    8404: "HAProxy's statistics: shows every replica, where Ray's HAProxy runs without faceswap-haproxy",
    9101: "HAProxy's metrics, where Ray's HAProxy runs without faceswap-haproxy",
}

CLIENTS = 8000  # the service itself
PRIVILEGED = 1024  # Ray takes none of these


def named(ports: Container[int]) -> str:
    """'8265 (Ray's dashboard ...)' of each, for a message."""
    return ", ".join(f"{port} ({NEVER_PUBLIC[port]})" for port in NEVER_PUBLIC if port in ports)


def inner(ports: Iterable[int]) -> list[int]:
    """Those of `ports` that a process of Ray may listen on: its workers take any, and unpickle what they receive there."""
    return [port for port in ports if port > PRIVILEGED and port != CLIENTS]
