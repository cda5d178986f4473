"""The routes about callbacks, for admins: what is owed and given up, of every key, and that it be sent again."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from serve_app.api.body import read_body
from serve_app.api.caller import require_admin
from serve_app.api.errors import Answer, ApiError, JsonResponse
from serve_app.api.jsonbody import parse_json
from serve_app.api.schema import HookQuery, ResendBody, invalid
from serve_app.api.service import Service, store_errors
from serve_app.tasks.hooks import Owed

_MAX_BYTES = 10_000


class HookRoutes:
    """Hosts only: the rest of a hook's URL is often a secret."""

    def __init__(self, service: Service) -> None:
        self._hooks, self._store = service.hooks, service.store

    async def listed(self, request: Request) -> Response:
        require_admin(request)
        try:
            query = HookQuery.model_validate({name: value for name, value in request.query_params.items() if value})
        except ValidationError as error:
            raise invalid(error) from None
        async with store_errors():
            counts = await self._hooks.counts()
            found = await self._hooks.find(dead=None if query.state is None else query.state == "dead", host=query.host, limit=query.limit)
        return JsonResponse(
            {**{to_camel(name): value for name, value in counts._asdict().items()}, "hooks": [_shown(owed) for owed in found]}
        )

    async def shown(self, request: Request) -> Response:
        """What the hook of one task has not heard; nothing where it has heard all."""
        require_admin(request)
        async with store_errors():
            found = await self._hooks.show(request.path_params["id"])
            known = found or await self._store.get(request.path_params["id"])
        if not known:
            raise ApiError(Answer.TASK_UNKNOWN)
        return JsonResponse([_shown(owed) for owed in found])

    async def resend(self, request: Request) -> Response:
        require_admin(request)
        body = await read_body(request, _MAX_BYTES)
        try:
            wanted = ResendBody.model_validate(parse_json(body) if body.strip() else {})
        except ValidationError as error:
            raise invalid(error) from None
        if wanted.task is not None:
            async with store_errors():
                count = int(await self._hooks.resend(wanted.task))
            if not count:
                raise ApiError(Answer.TASK_UNKNOWN, reason="There is no such task with a hook that has something to hear.")
        elif wanted.dead or wanted.host is not None:
            async with store_errors():
                count = await self._hooks.resend_all(dead=True if wanted.dead else None, host=wanted.host)
        else:
            raise ApiError(Answer.INVALID, field="task", reason="Give `task`, or `host`, or `dead`: true, or the last two.")
        return JsonResponse({"count": count})


def _shown(owed: Owed) -> dict[str, object]:
    return {to_camel(name): value for name, value in asdict(owed).items()}
