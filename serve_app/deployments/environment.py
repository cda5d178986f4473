"""What Ray reads when it is imported or started; this module itself imports nothing of Ray."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import sysconfig
from pathlib import Path

from serve_app.deployments.ports import own_block

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
    # What Ray does while nothing happens, 111 ms of CPU a second on one machine, 81 with these: Serve's controller looks at everything it
    # keeps four times a second in place of ten, and counters are handed on each second.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    # Ray times every handler of its own loops, for ray_operation_* and a text in its logs: some 4 of 91 ms of CPU a swap at 1920 x 1080.
    "RAY_event_stats": "0",
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

BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"  # the command `faceswap-haproxy`, wherever it was installed
# Beside those, where HAProxy stands in place of Ray's proxy (haproxy.py, docs/decisions/0036). On every node too: all of them or none.
HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # Calls between replicas carry their arguments themselves, in one loop with our code.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Ray's 4 MB are three pictures as the detector sees them; a call has up to sixteen, and a swap faces of up to 1024 pixels.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": "536870912",
    # The flag above would keep back up to a thousand lines, and those of a process that is killed for ever.
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    # And take Serve's lines away from stderr, which some collect.
    "RAY_SERVE_LOG_TO_STDERR": "1",
    # A GET whose Ingress died before it answered goes to another; which requests may is haproxy.py's.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    # A client that sends or takes nothing for so long is gone. Ray's hour would let few clients hold all connections.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "150",
    # How long an Ingress that stops waits for HAProxy to hear of it, at least: Ray's 30 s are for load balancers that ask seldom.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3",
}

# Ray's place for them, in /tmp, is one for all services of a machine, and they stay.
HAPROXY_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "a",  # a name of a socket has 107 bytes, a node's of Ray 56 of them
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "m",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
}

# Places in a block of ports of this service's own (ports.py). Ray's are the same for all services of a machine: another one's Ingress that
# took the port of one of ours that died would be sent our requests.
HAPROXY_PORTS = {
    "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": 0,
    "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": -2,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": -1,  # Ray's proxy is there still, for what comes while there is no Ingress
}

DEFAULTS = ONE_MACHINE | EVERY_NODE


def behind_haproxy() -> bool:
    """Whether this process belongs to a cluster whose requests come through HAProxy."""
    return os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"


def prepare(haproxy: Path | None = None) -> None:
    """Set what is not set already. Call it before the first import of Ray in the process: later is too late.

    haproxy: the folder for HAProxy's files; None: Ray's own proxy, unless the environment names HAProxy already.

    The token is random and lives in the environment only: nobody else on this machine can run code in the cluster,
    and no file is left in the home directory.
    """
    if haproxy:
        os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
        os.environ.update((name, str(haproxy / file)) for name, file in HAPROXY_FILES.items())
        ports = own_block()
        os.environ.update((name, str(ports[place])) for name, place in HAPROXY_PORTS.items())
        os.environ[BINARY] = _command()
    if behind_haproxy():
        for name, value in HAPROXY.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault(BINARY, _command())
    # Never as inherited: replicas listen on every address, and only the token stands before what they unpickle.
    os.environ["RAY_AUTH_MODE"] = "token"
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _command() -> str:
    """Where `faceswap-haproxy` was installed, or should have been."""
    folders = (str(Path(sys.argv[0]).parent), sysconfig.get_path("scripts"))
    return shutil.which("faceswap-haproxy", path=os.pathsep.join(folders)) or str(Path(folders[1]) / "faceswap-haproxy")


def complain() -> None:
    """Say in the log what this node was started without. Its proxy read it when it started, so now is too late to set it."""
    wanted = [*EVERY_NODE, *HAPROXY, BINARY] if behind_haproxy() else EVERY_NODE
    missing = [name for name in wanted if name not in os.environ]
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        missing.append("RAY_AUTH_MODE=token (who reaches a port of Ray's runs code)")
    if missing:
        logger.warning("start every node of Ray with these in its environment, as docs/operations.md says: %s", ", ".join(missing))
