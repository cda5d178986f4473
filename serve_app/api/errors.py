"""Every answer of the contract that is not a task, and the one place that writes them.

docs/api.md has the same table; a test compares the two.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class Answer(Enum):
    """HTTP status, code, description. The descriptions are those of the Midjourney-Proxy contract where it has one."""

    ACCEPTED = (200, 1, "提交成功")
    SOURCE_MISSING = (200, 4, "人脸图片不能为空")
    TARGET_MISSING = (200, 4, "目标图片不能为空")
    SAME_PICTURE = (200, 4, "人脸图片和目标图片不能相同")
    SOURCE_FORMAT = (200, 4, "人脸图片格式错误")
    TARGET_FORMAT = (200, 4, "目标图片格式错误")
    SOURCE_SIZE = (200, 4, "人脸图片大小超过最大限制")
    TARGET_SIZE = (200, 4, "目标图片大小超过最大限制")
    SOURCE_URL = (200, 4, "人脸图片URL格式错误")
    TARGET_URL = (200, 4, "目标图片URL格式错误")
    INVALID = (200, 4, "校验错误: {field}")
    QUEUE_FULL = (200, 23, "队列已满，请稍后尝试")
    UNAUTHORIZED = (401, 4, "Unauthorized")
    TASK_UNKNOWN = (404, 3, "任务不存在")
    IMAGE_UNKNOWN = (404, 3, "图片不存在")
    ROUTE_UNKNOWN = (404, 3, "接口不存在")
    METHOD_WRONG = (405, 4, "请求方法不支持")
    BODY_TOO_LARGE = (413, 4, "请求体过大")
    INTERNAL = (500, 9, "系统异常")
    SUBMIT_FAILED = (503, 9, "提交失败，系统异常")
    STORE_DOWN = (503, 9, "系统异常，请稍后重试")

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def code(self) -> int:
        return self.value[1]

    @property
    def description(self) -> str:
        return self.value[2]


class ApiError(Exception):
    """A request that does not succeed. field: the member at fault. reason: what was wrong and what to do, in English."""

    def __init__(self, answer: Answer, *, field: str | None = None, reason: str | None = None) -> None:
        super().__init__(answer.name)
        self.answer = answer
        self.field = field
        self.reason = reason


class JsonResponse(Response):
    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return orjson.dumps(content)


def envelope(
    answer: Answer,
    *,
    result: str | None = None,
    properties: Mapping[str, object] | None = None,
    field: str = "",
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> JsonResponse:
    """code, description, result and properties, always all four; where the status is not 200 also `error`."""
    body: dict[str, object] = {
        "code": answer.code,
        "description": answer.description.format(field=field),
        "result": result,
        "properties": dict(properties or {}),
    }
    if answer.status != 200:
        body["error"] = HTTPStatus(answer.status).phrase
    return JsonResponse({**body, **(extra or {})}, answer.status, headers)


async def refused(_request: Request, error: Exception) -> Response:
    """Starlette's handler for ApiError."""
    assert isinstance(error, ApiError)
    told = {"field": error.field, "reason": error.reason}
    return envelope(error.answer, field=error.field or "", properties={name: value for name, value in told.items() if value})


async def no_route(request: Request, error: Exception) -> Response:
    """Starlette's handler for its own 404 and 405: the envelope and what Spring servers send, which clients of the contract print."""
    assert isinstance(error, HTTPException)
    answer = Answer.METHOD_WRONG if error.status_code == 405 else Answer.ROUTE_UNKNOWN
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    path = request.scope.get("faceswap.path", request.scope["path"])
    return envelope(answer, headers=error.headers, extra={"timestamp": now, "status": answer.status, "path": path})


class LastResort:
    """ASGI middleware: whatever a route raises becomes a 500 in JSON, and a line in the log without the error's text,
    which may quote what the user sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            return  # nobody is there to hear an answer
        except Exception as error:
            log_failure("a request", error)
            if started:
                raise RuntimeError("failed in the middle of an answer") from None
            await envelope(Answer.INTERNAL)(scope, receive, send)


def log_failure(what: str, error: BaseException) -> None:
    """Log where an error came from, and its type. Never its text: database errors quote parameters."""
    cause = f" from {type(error.__cause__).__qualname__}" if error.__cause__ else ""
    logger.error("%s failed: %s%s\n%s", what, type(error).__qualname__, cause, "".join(traceback.format_tb(error.__traceback__)))
