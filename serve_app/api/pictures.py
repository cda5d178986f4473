"""GET and HEAD of result pictures. Nobody is asked for a key: the name holds 128 random bits."""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import Response

from serve_app.api.errors import Answer, ApiError
from serve_app.api.service import Service, store_errors
from serve_app.tasks.blobs import BlobMissing
from serve_app.tasks.task import Status, Task

_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "avif": "image/avif"}


class Pictures:
    def __init__(self, service: Service) -> None:
        self._store = service.store
        self._blobs = service.blobs

    async def picture(self, request: Request) -> Response:
        name = request.path_params["name"]
        async with store_errors():
            task = await self._store.get(name.partition("-")[0])
            if task is None or not _is_result(task, name):
                raise ApiError(Answer.IMAGE_UNKNOWN)
            if task.result is None:
                raise ApiError(Answer.IMAGE_GONE, reason="Results are kept for a time only. Submit the pictures again.")
            headers = _headers(name)
            if _has_it(request, headers["ETag"]):
                return Response(status_code=304, headers=headers)
            try:
                data = await self._blobs.get(task.result)
            except BlobMissing:
                raise ApiError(Answer.IMAGE_UNKNOWN) from None
        headers["Content-Length"] = str(len(data))
        kind = _TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")
        return Response(b"" if request.method == "HEAD" else data, media_type=kind, headers=headers)


def _headers(name: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": "*",  # also without an Origin: caches then serve it to browsers
        "Cache-Control": "private, max-age=86400, immutable",
        "Content-Disposition": f'inline; filename="{name}"',
        "ETag": f'"{name}"',  # what is under a name never changes
        "X-Content-Type-Options": "nosniff",
    }


def _has_it(request: Request, etag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or etag in given


def _is_result(task: Task, name: str) -> bool:
    """Also of a result that is not kept any more."""
    return task.status is Status.SUCCESS and hmac.compare_digest((task.result_name or "").encode(), name.encode())
