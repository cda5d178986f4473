"""What Ray reads when it is imported or started; this module itself imports nothing of Ray."""

from __future__ import annotations

import logging
import os
import secrets

logger = logging.getLogger(__name__)

# Ray's name is misleading: 0 keeps its control ports on loopback, where a single machine needs them.
ONE_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Where http_proxy is set, gRPC would send the processes' metrics to it instead of to this machine's agent.
    "no_grpc_proxy": "127.0.0.1,localhost",
}

# On every node of a cluster, before `ray start`: the Dockerfile has them, docs/operations.md lists them.
EVERY_NODE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Replicas are this machine's real work, not a background job: Ray's default is nice 15.
    "RAY_worker_niceness": "0",
    # glibc gives what was freed back to the kernel at once, and each decoded picture takes its pages anew: 11 of 44 ms of CPU a swap
    # at 1920 x 1080. So up to 128 MB an arena are kept; what is larger than 32 MB is still given back.
    "MALLOC_TRIM_THRESHOLD_": "134217728",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    # Each of some twenty threads would come to keep its own: a SwapPipeline grew until its 900th task, with two until its 300th.
    "MALLOC_ARENA_MAX": "2",
    # How soon a dead proxy is noticed: 31 s of silence with Ray's default of 10, 5 s with this.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    # Ray kills a proxy that is late three times in a row, and cuts every connection. A saturated one answers after up to
    # 13 s (200 clients, new connections): docs/decisions/0013.
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.deployments.proxy:middlewares",
    # What every replica and proxy imports first: 0.8 s of a core that spare processes (spares.py) have behind them. Nothing of ours: it may
    # be another release's by the time they are used.
    "RAY_preload_python_modules": "ray.serve._private.replica,ray.serve._private.proxy",
    # The server inside Ray's proxy would believe X-Forwarded-For of anybody on this machine; whom to believe is our setting.
    "FORWARDED_ALLOW_IPS": "",
}

DEFAULTS = ONE_MACHINE | EVERY_NODE


def prepare() -> None:
    """Set what is not set already. Call it before the first import of Ray in the process: later is too late.

    The token is random and lives in the environment only: nobody else on this machine can run code in the cluster,
    and no file is left in the home directory.
    """
    # Never as inherited: replicas listen on every address, and only the token stands before what they unpickle.
    os.environ["RAY_AUTH_MODE"] = "token"
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def complain() -> None:
    """Say in the log what this node was started without. Its proxy read it when it started, so now is too late to set it."""
    missing = [name for name in EVERY_NODE if name not in os.environ]
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        missing.append("RAY_AUTH_MODE=token (who reaches a port of Ray's runs code)")
    if missing:
        logger.warning("start every node of Ray with these in its environment, as docs/operations.md says: %s", ", ".join(missing))
