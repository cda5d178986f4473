"""Processes that wait on every node for the next replica or proxy, so that it starts in a moment instead of seconds.

A new replica is a new Python process that imports Ray Serve and what we stand on: some 2.5 s of a core, before a model is loaded. Ray can
start worker processes ahead, and they import what RAY_preload_python_modules says (environment.py). Our own code is not in that list: a
release that is installed while they wait must not start half old.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
from ray.core.generated import common_pb2 as common
from ray.core.generated.node_manager_pb2 import GetNodeStatsReply, GetNodeStatsRequest, PrestartWorkersRequest
from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

from serve_app.deployments.nodes import Node, alive

logger = logging.getLogger(__name__)

PYTHON = common.Language.Value("PYTHON")
WORKER = common.WorkerType.Value("WORKER")
NO_ACTOR = b"\xff"  # its id has no other byte
CALL_S = 5.0
# So long there must have been too few: those who took them start now and need the cores, and what was asked for is on its way.
SHORT_S = 20.0
KEPT_S = 24 * 3600  # those whom nobody took end then, and others are started


class Spares:
    """wanted: processes that wait on every node. chosen: whether this replica is the one that looks after them. clock: seconds.

    Raylets are asked by the call that Ray's own libraries use; it is not among Ray's public ones, so a raylet that does not know it is
    written down once and costs nothing but the spares.
    """

    def __init__(self, wanted: int, chosen: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._wanted, self._chosen, self._clock = wanted, chosen, clock
        self._short: dict[str, float] = {}  # nodes: since when they have too few, or were asked for more
        self._silent: set[str] = set()

    async def look(self) -> None:
        """Tops every node up."""
        if self._wanted and self._chosen():
            await asyncio.to_thread(self._top_up)

    def _top_up(self) -> None:
        nodes = alive()
        self._short = {node.id: self._short[node.id] for node in nodes if node.id in self._short}
        for node in nodes:
            try:
                self._top_up_node(node)
                self._silent.discard(node.id)
            except grpc.RpcError as error:
                if node.id not in self._silent:
                    logger.warning("node %s keeps no spare processes: %s", node.address, error.details() or error.code())
                self._silent.add(node.id)

    def _top_up_node(self, node: Node) -> None:
        """Raises grpc.RpcError."""
        with raylet_of(node) as raylet:
            missing = self._wanted - len(idle(raylet.GetNodeStats(GetNodeStatsRequest(), timeout=CALL_S)))
            if missing <= 0:
                self._short.pop(node.id, None)
            elif (now := self._clock()) - self._short.setdefault(node.id, now) >= SHORT_S:
                wish = PrestartWorkersRequest(language=PYTHON, keep_alive_duration_secs=KEPT_S, num_workers=missing)
                # Of no job: that which started Serve may have ended, and the idle processes of a job end with it.
                wish.runtime_env_info.serialized_runtime_env = "{}"
                raylet.PrestartWorkers(wish, timeout=CALL_S)
                self._short[node.id] = now


@contextlib.contextmanager
def raylet_of(node: Node) -> Iterator[Any]:
    """Calls to a node's raylet. They carry the cluster's token, so never through a proxy."""
    with init_grpc_channel(node.address, options=GLOBAL_GRPC_OPTIONS) as channel:
        yield NodeManagerServiceStub(channel)


def idle(stats: GetNodeStatsReply) -> list[int]:
    """Processes of a node that wait for an actor; nobody here runs tasks of Ray's."""
    unused = (worker.pid for worker in stats.core_workers_stats if worker.worker_type == WORKER and not worker.actor_id.strip(NO_ACTOR))
    return list(unused)
