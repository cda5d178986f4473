"""What the routes stand on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from serve_app.api.config import ApiConfig
from serve_app.api.errors import Answer, ApiError, log_failure
from serve_app.api.watch import Watch
from serve_app.egress.client import Egress
from serve_app.metrics import Recorder, unrecorded
from serve_app.tasks.blobs import BlobStore, BlobsUnavailable
from serve_app.tasks.hooks import Hooks
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """on_accepted: told of each accepted task, after its commit. health: the members of GET /health. detect: the faces of a picture
    file, or `error`: why it cannot be looked at; raises where nobody can look now. watch: for requests that wait for the end of their task.
    record: told of refusals.
    """

    store: TaskStore
    blobs: BlobStore
    keys: KeyRing
    egress: Egress
    config: ApiConfig
    on_accepted: Callable[[Task], None]
    health: Callable[[], Awaitable[dict[str, object]]]
    hooks: Hooks
    detect: Callable[[bytes], Awaitable[dict[str, object]]]
    watch: Watch
    record: Recorder = unrecorded


@asynccontextmanager
async def store_errors(answer: Answer = Answer.STORE_DOWN, but: tuple[type[Exception], ...] = ()) -> AsyncIterator[None]:
    """A store that fails is an answer of its own (503), not a fault of the request. ApiError and `but` go through."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (ApiError, *but)):
            raise
        if isinstance(error, BlobsUnavailable):
            logger.error("the picture store failed: %s", error)
        else:
            log_failure("the task store", error)
        raise ApiError(answer, reason="The server cannot reach its storage. Try again later.", retry_after=5) from None
