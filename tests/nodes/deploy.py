"""`python -m tests.nodes.deploy ADDRESS FILE` on the head: starts Serve on the cluster there with a config file, and leaves it running."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import ray

from serve_app.deployments import cluster


def main(address: str, file: Path) -> None:
    ray.init(address=address, namespace="serve", log_to_driver=False, logging_level=logging.ERROR)
    cluster.start(cluster.load_config(file))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
