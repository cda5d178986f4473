"""What is on one machine's disk is not there for the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ray

from serve_app.tasks import blobs, database

DATABASE = (
    "Ray has {nodes} nodes that can run replicas, but tasks are kept in the SQLite file {file}, which is on one of them: replicas on the "
    "others would accept tasks that nobody finds. Set FACESWAP_DATABASE_URL to a PostgreSQL database (faceswap store migrate moves the "
    "tasks there), or use one node"
)
PICTURES = (
    "Ray has {nodes} nodes that can run replicas, but pictures are kept in the folder {folder}, which is on one of them: replicas on the "
    "others would not find them. Set FACESWAP_BLOBS_URL to s3://bucket/prefix, or use one node"
)


@dataclass(frozen=True, slots=True)
class Node:
    """address: of its raylet, host:port."""

    id: str
    address: str


def alive() -> list[Node]:
    """Nodes of the cluster that may run replicas. A head node that is told to have no CPUs runs none."""
    return [
        Node(node["NodeID"], f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")
        for node in ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no annotation there
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    ]


def usable() -> int:
    """How many nodes may run replicas; 1 without a cluster."""
    return len(alive()) if ray.is_initialized() else 1


def refuse_spread(nodes: int, tasks: str | Path, pictures: str | Path) -> None:
    """Raises ValueError for a database of tasks, or a place of pictures, that only one of several nodes has."""
    if nodes > 1 and database.is_sqlite(tasks):
        raise ValueError(DATABASE.format(nodes=nodes, file=database.shown(tasks)))
    if nodes > 1 and (folder := blobs.folder_of(pictures)) is not None:
        raise ValueError(PICTURES.format(nodes=nodes, folder=folder))
