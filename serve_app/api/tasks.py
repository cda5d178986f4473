"""The routes about tasks: fetch, lists, pages, cancel, delete. Each method is one: read, ask the store, answer."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serve_app.api.again import sent_before
from serve_app.api.body import read_body
from serve_app.api.caller import Caller, require_admin
from serve_app.api.errors import Answer, ApiError, JsonResponse, envelope
from serve_app.api.schema import task_json
from serve_app.api.search import page_json, parse_ids, parse_query, query_of
from serve_app.api.service import Service, store_errors
from serve_app.api.timing import timing_of
from serve_app.tasks.query import Page
from serve_app.tasks.reasons import CANCELLED
from serve_app.tasks.task import Task

_MAX_BYTES = 1_000_000  # more than 10,000 ids take; it is parsed on the event loop
_QUEUE, _NEWEST = 1000, 100


class Tasks:
    """A caller sees the tasks of its own key; an admin on /mj/task-admin everybody's."""

    def __init__(self, service: Service) -> None:
        self._store = service.store
        self._public_url = service.config.public_url

    async def fetch(self, request: Request) -> Response:
        return await self._one(request, Caller.of(request).owner)

    async def admin_fetch(self, request: Request) -> Response:
        require_admin(request)
        return await self._one(request, None)

    async def listed(self, request: Request) -> Response:
        ids = parse_ids(await read_body(request, _MAX_BYTES))
        async with store_errors():
            found = await self._store.get_many(ids, Caller.of(request).owner) if ids else []
        return self._many(found)

    async def queue(self, request: Request) -> Response:
        async with store_errors():
            return self._many(await self._store.unfinished(Caller.of(request).owner, _QUEUE))

    async def newest(self, request: Request) -> Response:
        async with store_errors():
            return self._many(await self._store.newest(Caller.of(request).owner, _NEWEST))

    async def query(self, request: Request) -> Response:
        return await self._page(request, Caller.of(request).owner)

    async def admin_query(self, request: Request) -> Response:
        require_admin(request)
        return await self._page(request, None)

    async def cancel(self, request: Request) -> Response:
        """Ends a task that has not ended; the body, if any, is not looked at."""
        id, owner = request.path_params["id"], Caller.of(request).owner
        async with store_errors():
            before = await self._store.get(id, owner)
            after = await self._store.cancel(id, owner) if before and not before.status.terminal else before
        if before is None or after is None:
            raise ApiError(Answer.TASK_UNKNOWN)
        ours = after.fail_reason == CANCELLED and (not before.status.terminal or sent_before(request))
        if not ours:  # its worker may have been faster
            raise ApiError(Answer.TASK_ENDED, reason=f"The task has ended already: {after.status}.")
        return envelope(Answer.CANCELLED, result=id)

    async def delete(self, request: Request) -> Response:
        """The row and the pictures."""
        id = request.path_params["id"]
        async with store_errors():
            deleted = await self._store.delete(id, Caller.of(request).owner)
        if deleted is None and not sent_before(request):
            raise ApiError(Answer.TASK_UNKNOWN)
        return envelope(Answer.DELETED, result=id)

    async def image_seed(self, request: Request) -> Response:
        """A swap has none; clients ask all the same."""
        async with store_errors():
            task = await self._store.get(request.path_params["id"], Caller.of(request).owner)
        raise ApiError(Answer.SEED_NONE if task else Answer.SEED_UNKNOWN)

    async def _one(self, request: Request, owner: str | None) -> Response:
        async with store_errors():
            task = await self._store.get(request.path_params["id"], owner)
        if task is None:
            raise ApiError(Answer.TASK_UNKNOWN)
        return JsonResponse(task_json(task, self._public_url), headers=timing_of(task))

    def _many(self, tasks: list[Task]) -> Response:
        return JsonResponse([task_json(task, self._public_url) for task in tasks])

    async def _page(self, request: Request, owner: str | None) -> Response:
        body = parse_query(await read_body(request, _MAX_BYTES))
        query = query_of(body)
        async with store_errors():
            found = await self._store.query(query, owner) if query else Page([], 0)
        return JsonResponse(page_json(found, body, [task_json(task, self._public_url) for task in found.tasks]))
