"""Our own log records, wherever they are made, go where Serve's go: the replica's file and stderr, with its ids."""

from __future__ import annotations

import logging


def to_serve() -> None:
    """Call it in a replica's constructor. The inner modules log to `serve_app.*` and know nothing of Ray."""
    serve = logging.getLogger("ray.serve")
    ours = logging.getLogger("serve_app")
    ours.handlers = serve.handlers
    ours.setLevel(serve.level or logging.INFO)
    ours.propagate = False
