"""What is on one machine's disk is not there for the others."""

from __future__ import annotations

from pathlib import Path

import ray

from serve_app.tasks.database import is_sqlite, shown

HOW = (
    "Ray has {nodes} nodes that can run replicas, but tasks are kept in the SQLite file {file}, which is on one of them: replicas on the "
    "others would accept tasks that nobody finds. Set FACESWAP_DATABASE_URL to a PostgreSQL database (faceswap store migrate moves the "
    "tasks there), or use one node"
)


def usable() -> int:
    """Nodes that are alive and may run replicas; 1 without a cluster. A head node that is told to have no CPUs runs none."""
    if not ray.is_initialized():
        return 1
    # Ray has no annotation there.
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())  # type: ignore[no-untyped-call]


def refuse_spread(nodes: int, database: str | Path) -> None:
    """Raises ValueError for a database that only one of several nodes has."""
    if nodes > 1 and is_sqlite(database):
        raise ValueError(HOW.format(nodes=nodes, file=shown(database)))
