"""Our log records say what they are about, in Serve's JSON, from whatever module they come."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
from ray._common.formatters import JSONFormatter

from serve_app import tracing
from serve_app.about import about
from serve_app.deployments import logs

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a replica's file would have."""
    out, serve, ours = io.StringIO(), logging.getLogger("ray.serve"), logging.getLogger("serve_app")
    before = (serve.handlers, ours.handlers, ours.level, ours.propagate)
    handler = logging.StreamHandler(out)
    handler.setFormatter(JSONFormatter())
    serve.handlers = [handler]
    logs.to_serve()
    yield out
    serve.handlers, ours.handlers, level, ours.propagate = before
    ours.setLevel(level)


async def test_a_line_says_which_task_key_stage_and_trace_it_is_about(lines: io.StringIO) -> None:
    inner = logging.getLogger("serve_app.tasks.store")

    async def work(task: str) -> None:
        with about(task=task, key="a"), tracing.behind(f"00-{TRACE}-b7ad6b7169203331-01"):
            await asyncio.sleep(0)
            with about(stage="swap"):
                inner.warning("in the middle")
            await asyncio.to_thread(inner.warning, "in a thread")
        inner.warning("outside")

    await asyncio.gather(work("1"), work("2"))
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    names = ("message", "task", "key", "stage", "trace_id")
    told = sorted(tuple(str(line.get(name)) for name in names) for line in found)
    assert told == sorted(
        [
            *(("in the middle", task, "a", "swap", TRACE) for task in "12"),
            *(("in a thread", task, "a", "None", TRACE) for task in "12"),
            *(("outside", "None", "None", "None", "None") for _ in "12"),
        ]
    )
