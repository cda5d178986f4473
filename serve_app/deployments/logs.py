"""Our own log records, wherever they are made, go where Serve's go: the replica's file and stderr, with its ids and with ours."""

from __future__ import annotations

import logging

from serve_app import tracing
from serve_app.about import fields


def to_serve() -> None:
    """Call it in a replica's constructor. The inner modules log to `serve_app.*` and know nothing of Ray."""
    serve = logging.getLogger("ray.serve")
    ours = logging.getLogger("serve_app")
    for handler in serve.handlers:
        handler.addFilter(_ABOUT)
    ours.handlers = serve.handlers
    ours.setLevel(serve.level or logging.INFO)
    ours.propagate = False


class About(logging.Filter):
    """Filters nothing: it writes into each record which task, key, stage and trace it is about. Serve's JSON shows them."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.__dict__.update(fields())
        if trace_id := tracing.trace_id():
            record.trace_id = trace_id
        return True


_ABOUT = About()
