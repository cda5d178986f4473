"""Every answer of the contract that is not a task, and the one place that writes them.

docs/api.md has the same table; a test compares the two.
"""

from __future__ import annotations

import logging
import math
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

from serve_app.api.language import english
from serve_app.api.request_id import request_id
from serve_app.metrics import REFUSALS, Recorder, unrecorded

logger = logging.getLogger(__name__)


class Answer(Enum):
    """HTTP status, code, description in Chinese and in English. The Chinese is that of the Midjourney-Proxy contract where it has one."""

    ACCEPTED = (200, 1, "提交成功", "Submitted")
    CANCELLED = (200, 1, "成功", "Success")
    DELETED = (200, 1, "删除成功", "Deleted")
    DETECTED = (200, 1, "检测成功", "Detected")
    SOURCE_MISSING = (200, 4, "人脸图片不能为空", "The face picture is missing")
    TARGET_MISSING = (200, 4, "目标图片不能为空", "The target picture is missing")
    SAME_PICTURE = (200, 4, "人脸图片和目标图片不能相同", "The face picture and the target picture are the same")
    SOURCE_FORMAT = (200, 4, "人脸图片格式错误", "The face picture has a wrong format")
    TARGET_FORMAT = (200, 4, "目标图片格式错误", "The target picture has a wrong format")
    SOURCE_SIZE = (200, 4, "人脸图片大小超过最大限制", "The face picture is too large")
    TARGET_SIZE = (200, 4, "目标图片大小超过最大限制", "The target picture is too large")
    SOURCE_URL = (200, 4, "人脸图片URL格式错误", "The URL of the face picture is wrong")
    TARGET_URL = (200, 4, "目标图片URL格式错误", "The URL of the target picture is wrong")
    INVALID = (200, 4, "校验错误: {field}", "Wrong: {field}")
    INSTANCE_UNKNOWN = (200, 4, "账号不可用: {instance}", "No such instance: {instance}")
    IDEMPOTENCY_MISMATCH = (200, 4, "幂等键已用于其他请求", "The Idempotency-Key was used for another request")
    TASK_ENDED = (200, 4, "任务已结束", "The task has ended already")
    SEED_NONE = (200, 4, "关联任务状态错误", "This task has no seed")
    DAILY_LIMIT = (200, 4, "今日绘图次数已达上限", "The limit for today is reached")
    CONCURRENT_LIMIT = (200, 23, "进行中的任务已达上限，请稍后尝试", "Too many unfinished tasks, please try again later")
    QUEUE_FULL = (200, 23, "队列已满，请稍后尝试", "Queue is full, please try again later")
    BODY_SLOW = (200, 4, "请求体接收超时", "The body took too long to arrive")
    UNAUTHORIZED = (401, 4, "Unauthorized", "Unauthorized")
    KEY_DISABLED = (403, 4, "账号已禁用", "This key is disabled")
    KEY_EXPIRED = (403, 4, "账号已过期", "This key has expired")
    FORBIDDEN = (403, 4, "您无权限访问", "This key may not do that")
    TASK_UNKNOWN = (404, 3, "任务不存在", "No such task")
    SEED_UNKNOWN = (404, 3, "关联任务不存在或已失效", "The task does not exist or has expired")
    IMAGE_UNKNOWN = (404, 3, "图片不存在", "No such picture")
    ROUTE_UNKNOWN = (404, 3, "接口不存在", "No such route")
    IMAGE_GONE = (410, 3, "图片已过期", "The picture has expired")
    METHOD_WRONG = (405, 4, "请求方法不支持", "Wrong method")
    BODY_TOO_LARGE = (413, 4, "请求体过大", "The body is too large")
    RATE_LIMITED = (429, 23, "请求过于频繁，请稍后尝试", "Too many requests, please try again later")
    TOO_MANY_BODIES = (429, 23, "同时上传的请求过多，请稍后尝试", "Too many uploads at a time, please try again later")
    INTERNAL = (500, 9, "系统异常", "Internal error")
    BUSY = (503, 23, "服务器繁忙，请稍后尝试", "The server is busy, please try again later")
    SUBMIT_FAILED = (503, 9, "提交失败，系统异常", "Not submitted, internal error")
    STORE_DOWN = (503, 9, "系统异常，请稍后重试", "Internal error, please try again later")

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def code(self) -> int:
        return self.value[1]

    @property
    def description(self) -> str:
        """In Chinese."""
        return self.value[2]

    @property
    def english(self) -> str:
        return self.value[3]


class ApiError(Exception):
    """A request that does not succeed.

    field: the member at fault. reason: what was wrong and what to do, in English. instance: the one that INSTANCE_UNKNOWN names.
    retry_after: seconds after which it may go better. headers: more of the answer's.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        field: str | None = None,
        reason: str | None = None,
        instance: str = "",
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(answer.name)
        self.answer = answer
        self.field = field
        self.reason = reason
        self.instance = instance
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))


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
    instance: str = "",
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> JsonResponse:
    """code, description, result and properties, always all four; where the status is not 200 also `error`.

    The description is in the language of the request that is being answered.
    """
    description = answer.english if english.get() else answer.description
    body: dict[str, object] = {
        "code": answer.code,
        "description": description.format(field=field, instance=instance),
        "result": result,
        "properties": dict(properties or {}),
    }
    if answer.status != 200:
        body["error"] = HTTPStatus(answer.status).phrase
    return JsonResponse({**body, **(extra or {})}, answer.status, headers)


class Refusals:
    """Requests that do not succeed, each counted and answered."""

    def __init__(self, record: Recorder = unrecorded) -> None:
        self._record = record

    async def refused(self, _request: Request, error: Exception) -> Response:
        """Starlette's handler for ApiError."""
        assert isinstance(error, ApiError)
        return self.answer(error)

    def answer(self, error: ApiError) -> Response:
        self.count(error.answer)
        told = {"field": error.field, "reason": error.reason}
        properties = {name: value for name, value in told.items() if value}
        return envelope(error.answer, field=error.field or "", instance=error.instance, properties=properties, headers=error.headers)

    async def no_route(self, request: Request, error: Exception) -> Response:
        """Starlette's handler for its own 404 and 405: the envelope and what Spring servers send, which clients of the contract print."""
        assert isinstance(error, HTTPException)
        answer = Answer.METHOD_WRONG if error.status_code == 405 else Answer.ROUTE_UNKNOWN
        self.count(answer)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        path = request.scope.get("faceswap.path", request.scope["path"])
        return envelope(answer, headers=error.headers, extra={"timestamp": now, "status": answer.status, "path": path})

    def count(self, answer: Answer) -> None:
        self._record(REFUSALS, answer=answer.name.lower(), code=str(answer.code))


class LastResort:
    """ASGI middleware: an ApiError of the middlewares behind it becomes its answer. Whatever else is raised becomes a 500 in JSON,
    and a line in the log without the error's text, which may quote what the user sent."""

    def __init__(self, app: ASGIApp, refusals: Refusals) -> None:
        self._app = app
        self._refusals = refusals

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
            expected = isinstance(error, ApiError) and not started
            if not expected:
                log_failure("a request", error)
            if started:
                raise RuntimeError("failed in the middle of an answer") from None
            answer = error if isinstance(error, ApiError) else ApiError(Answer.INTERNAL)
            await self._refusals.answer(answer)(scope, receive, send)


def log_failure(what: str, error: BaseException) -> None:
    """Log where an error came from, its type and the request's id. Never its text: database errors quote parameters."""
    cause = f" from {type(error.__cause__).__qualname__}" if error.__cause__ else ""
    name = f" (request {id})" if (id := request_id.get()) else ""
    trace = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s failed: %s%s%s\n%s", what, type(error).__qualname__, cause, name, trace)
