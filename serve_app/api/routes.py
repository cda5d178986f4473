"""The routes of the contract. Each method is one: read, ask the store, answer."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serve_app.api.body import read_body
from serve_app.api.config import ApiConfig
from serve_app.api.errors import Answer, ApiError, JsonResponse, envelope, log_failure
from serve_app.api.origin import base_url
from serve_app.api.schema import task_json
from serve_app.api.submission import Submission, parse_ids, parse_submission
from serve_app.tasks.blobs import BlobMissing, BlobStore
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask, Status, Task

_MAX_LIST_BYTES = 1_000_000  # more than 10,000 ids take; it is parsed on the event loop
_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


class Routes:
    """on_accepted: told of each accepted task, after its commit. health: the members of GET /health."""

    def __init__(
        self,
        store: TaskStore,
        blobs: BlobStore,
        config: ApiConfig,
        on_accepted: Callable[[Task], None],
        health: Callable[[], Awaitable[dict[str, object]]],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._config = config
        self._on_accepted = on_accepted
        self._health = health

    def table(self) -> list[Route]:
        return [
            Route("/mj/insight-face/swap", self.swap, methods=["POST"]),
            Route("/mj/task/{id}/fetch", self.fetch, methods=["GET"]),
            Route("/mj/task/list-by-condition", self.list_by_condition, methods=["POST"]),
            Route("/mj/image/{name}", self.image, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
        ]

    async def swap(self, request: Request) -> Response:
        limits = self._config.limits
        body = await read_body(request, limits.max_body_bytes)
        async with _store_errors(Answer.SUBMIT_FAILED):
            waiting = await self._store.count_waiting()
        if waiting >= self._config.max_waiting:
            raise ApiError(Answer.QUEUE_FULL, reason="Too many tasks are waiting. Send this one again later.")
        # Parsing, base64 and both headers in one thread call; the loop stays free for others.
        submission = await asyncio.to_thread(parse_submission, body, limits)
        del body
        task = await self._accept(request, submission)
        return envelope(Answer.ACCEPTED, result=task.id, properties={"discordInstanceId": task.instance_id or ""})

    async def _accept(self, request: Request, submission: Submission) -> Task:
        new = NewTask(
            mode=request.scope.get("faceswap.mode"),
            state=submission.state,
            notify_hook=submission.notify_hook or self._config.notify_hook,
            instance_id=submission.instance_id,
            base_url=base_url(request),
        )
        async with _store_errors(Answer.SUBMIT_FAILED):
            task = await self._store.submit(new, partial(self._blobs.put_inputs, source=submission.source, target=submission.target))
        try:
            self._on_accepted(task)
        except Exception as error:  # the task is accepted and recovery will find it
            log_failure("on_accepted", error)
        return task

    async def fetch(self, request: Request) -> Response:
        async with _store_errors():
            task = await self._store.get(request.path_params["id"])
        if task is None:
            raise ApiError(Answer.TASK_UNKNOWN)
        return JsonResponse(task_json(task, self._config.public_url))

    async def list_by_condition(self, request: Request) -> Response:
        ids = parse_ids(await read_body(request, _MAX_LIST_BYTES))
        async with _store_errors():
            tasks = await self._store.get_many(ids) if ids else []
        return JsonResponse([task_json(task, self._config.public_url) for task in tasks])

    async def image(self, request: Request) -> Response:
        name = request.path_params["name"]
        async with _store_errors():
            task = await self._store.get(name.partition("-")[0])
            if task is None or task.status is not Status.SUCCESS or not task.result or not _equal(task.result_name, name):
                raise ApiError(Answer.IMAGE_UNKNOWN)
            try:
                data = await self._blobs.get(task.result)
            except BlobMissing:
                raise ApiError(Answer.IMAGE_UNKNOWN) from None
        headers = {
            "Access-Control-Allow-Origin": "*",  # also without an Origin: caches then serve it to browsers
            "Cache-Control": "private, max-age=86400, immutable",
            "Content-Disposition": f'inline; filename="{name}"',
            "Content-Length": str(len(data)),
            "X-Content-Type-Options": "nosniff",
        }
        kind = _TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")
        return Response(b"" if request.method == "HEAD" else data, media_type=kind, headers=headers)

    async def health(self, _request: Request) -> Response:
        return JsonResponse(await self._health())


@asynccontextmanager
async def _store_errors(answer: Answer = Answer.STORE_DOWN) -> AsyncIterator[None]:
    """A store that fails is an answer of its own (503), not a fault of the request."""
    try:
        yield
    except ApiError:
        raise
    except Exception as error:
        log_failure("the task store", error)
        raise ApiError(answer, reason="The server cannot reach its storage. Try again later.") from None


def _equal(name: str | None, given: str) -> bool:
    return name is not None and hmac.compare_digest(name.encode(), given.encode())
