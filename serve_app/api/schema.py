"""What comes in and what goes out, member by member, as clients of the Midjourney-Proxy contract know it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from serve_app.api.errors import Answer, ApiError
from serve_app.options import MOST_FACES, Index, One, Part, Wishes
from serve_app.tasks.hooks import MOST
from serve_app.tasks.task import ACTION, DESCRIPTION, PROMPT, Status, Task

MAX_WAIT_S = 60
MAX_PAGE_SIZE = 1000
_TAKEN = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF or BMP"
MAX_FILTER = 1024  # characters; databases refuse patterns of very many
_MAX_INSTANCE_ID = 255
_MAX_NAME = 64
_UNKNOWN_FAILURE = "系统异常"
_WISHES = {"string_type": "must be a string or null", "model_type": "must be a JSON object", "dict_type": "must be a JSON object"}


class Body(BaseModel):
    """What a client sends. Members that we do not know are tolerated, null and "" mean absent."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=False, extra="ignore", strict=True, frozen=True, hide_input_in_errors=True
    )


class Further(Part):
    """A picture beside the two of the contract; one of the two forms is required."""

    base64: str | None = Field(None, description=f"{_TAKEN} as base64 or as a data URL.")
    url: str | None = Field(None, description="An http or https URL of a public host.")


class FurtherSource(Further):
    """A source picture of its own for some of the target's faces."""

    face: One = Field("largest", description="Which face of this picture: `largest`, or its index.")
    target: list[Index] | Index = Field(description="The target's face that it goes on, or several, by index.")

    @field_validator("target", mode="before")
    @classmethod
    def _indexes(cls, given: object) -> object:
        return _checked_indexes(given) if isinstance(given, list) else _checked_indexes([given])[0]

    @property
    def targets(self) -> tuple[int, ...]:
        return tuple(self.target) if isinstance(self.target, list) else (self.target,)


class Options(Wishes):
    """Our own extensions of the contract. A member that we do not know is refused, so that none is asked for in vain."""

    wait: float = Field(
        0, ge=0, le=MAX_WAIT_S, description="Seconds to wait for the end of the task: the answer is then that of a finished task."
    )
    faces: Literal["largest", "all", "nearest"] | list[Index] | None = Field(
        None, description="Which faces of the target get the source: `largest` unless given, `all`, a list of indexes, or `nearest`."
    )
    reference: Further | None = Field(None, description="With faces `nearest`: a picture of the person whose face is meant.")
    sources: list[FurtherSource] | None = Field(None, min_length=1, description="Further source pictures, each for faces of its own.")

    @model_validator(mode="before")
    @classmethod
    def _none_is_absent(cls, given: object) -> object:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    @field_validator("faces", mode="before")
    @classmethod
    def _named_or_indexes(cls, given: object) -> object:
        if isinstance(given, list):
            return _checked_indexes(given)
        if isinstance(given, str) and given in ("largest", "all", "nearest"):
            return given
        raise PydanticCustomError("faces", "must be `largest`, `all`, `nearest` or a list of indexes such as [0, 2]")


def _checked_indexes(given: list[object]) -> list[object]:
    whole = [one for one in given if isinstance(one, int) and not isinstance(one, bool) and 0 <= one < MOST_FACES]
    if not given or len(whole) < len(given) or len(set(whole)) < len(whole):
        raise PydanticCustomError("indexes", f"must name faces by index: different whole numbers from 0 to {MOST_FACES - 1}")
    return given


class SwapBody(Body):
    """POST /mj/insight-face/swap. One of the two forms of each picture is required; base64 goes before the URL."""

    source_base64: str | None = Field(None, description=f"The face: {_TAKEN} as base64 or as a data URL.")
    target_base64: str | None = Field(None, description="The picture that the face goes into, likewise.")
    source_url: str | None = Field(None, description="The face as an http or https URL of a public host.")
    target_url: str | None = Field(None, description="The picture that the face goes into, likewise.")
    notify_hook: str | None = Field(None, description="An http or https URL that is told of every change.")
    state: str | None = Field(None, description="Repeated in every answer about the task.")
    account_filter: Any = Field(None, description="Any shape; `instanceId`, a text or a number, names the instance.")
    options: Options | None = None

    @field_validator("options", mode="before")
    @classmethod
    def _blank_is_absent(cls, given: object) -> object:
        return None if given == "" else given

    @property
    def instance_id(self) -> str | None:
        """accountFilter.instanceId, whatever the shape around it; None where there is none that could name an instance."""
        found = self.account_filter.get("instanceId") if isinstance(self.account_filter, dict) else None
        if isinstance(found, int) and not isinstance(found, bool):
            found = str(found)
        if not isinstance(found, str) or len(found) > _MAX_INSTANCE_ID or "\x00" in found:
            return None
        return found.strip() or None


class DetectBody(Body):
    """POST /mj/insight-face/detect. One of the two forms is required; base64 goes before the URL. Other members of a swap may be there."""

    target_base64: str | None = Field(None, description=f"The picture: {_TAKEN} as base64 or as a data URL.")
    target_url: str | None = Field(None, description="The picture as an http or https URL of a public host.")


class IdsBody(Body):
    """POST /mj/task/list-by-condition and list-by-ids, as clients send it; search.parse_ids reads it more tolerantly."""

    ids: list[str | int] | None = Field(None, max_length=10_000)


class QueryBody(Body):
    """POST /mj/task/query. All members are optional, and what is there must match."""

    page_number: int = Field(0, ge=0, le=10_000_000, description="The first page is 0.")
    page_size: int = Field(10, ge=1, le=MAX_PAGE_SIZE)
    sort: str = Field("submitTime,desc", max_length=64, description="A member of the task and `asc` or `desc`.")
    ids: list[str | int] | None = Field(None, max_length=10_000)
    id: str | int | None = None
    action: str | None = Field(None, max_length=MAX_FILTER)
    status: str | None = Field(None, max_length=MAX_FILTER)
    status_set: list[str] | None = Field(None, max_length=16)
    state: str | None = Field(None, max_length=MAX_FILTER)
    description: str | None = Field(None, max_length=MAX_FILTER)
    fail_reason: str | None = Field(None, max_length=MAX_FILTER)
    instance_id: str | int | None = None
    prompt: str | None = Field(None, max_length=MAX_FILTER)
    prompt_en: str | None = Field(None, max_length=MAX_FILTER)

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None and value != ""}


class HookQuery(Body):
    """GET /mj/task-admin/hooks."""

    model_config = ConfigDict(strict=False)

    state: Literal["pending", "dead"] | None = Field(None, description="`dead`: only those given up; `pending`: only the others.")
    host: str | None = Field(None, max_length=MAX_FILTER, description="Of this host, with its port where the hook's URL names one.")
    limit: int = Field(100, ge=1, le=MOST, description="At most so many, the oldest.")


class ResendBody(Body):
    """POST /mj/task-admin/hooks/resend: one task's, or everything that is owed and fits."""

    model_config = ConfigDict(extra="forbid")

    task: str | None = Field(None, max_length=64, description="A task's id: its hook hears its present state, also a second time.")
    host: str | None = Field(None, max_length=MAX_FILTER, description="All of this host.")
    dead: bool = Field(False, description="All that were given up; with `host` those of it.")


def invalid(error: ValidationError) -> ApiError:
    """The answer for a body that is not what its model says; names the member, quotes nothing of the value."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = [str(part)[:_MAX_NAME] for part in found["loc"]]
    unknown = found["type"] == "extra_forbidden"
    if not unknown and place[-1:] in (["str"], ["int"]):
        place.pop()  # which member of a union was tried
    name = ".".join(place) or "body"
    if unknown:
        return ApiError(Answer.INVALID, field=name, reason=f"`{name}` is not known. Leave it out.")
    wish = _WISHES.get(found["type"]) or found["msg"].replace("Input should", "must")
    return ApiError(Answer.INVALID, field=name, reason=f"`{name}` {wish}.")


def task_json(task: Task, public_url: str | None) -> dict[str, object]:
    """A task as fetch, lists and callbacks show it: the contract's types, strictly, and every core member always there.

    progress is never null, "100%" only together with SUCCESS and imageUrl, "" on failure. failReason is a text on failure and null
    otherwise. Times are integers or null, and a finished task has a startTime. There is no imageUrls or videoUrls: clients take
    even an empty list for pictures. The hook is not repeated: it may be the operator's own; why it was given up is.
    """
    image_url = f"{(public_url or task.base_url).rstrip('/')}/mj/image/{task.result_name}" if _done(task) and task.result else None
    reason = (task.fail_reason or _UNKNOWN_FAILURE) if task.status is Status.FAILURE else None
    start = task.submit_time if task.start_time is None and task.finish_time is not None else task.start_time
    instance = task.instance_id or ""
    given_up = {"notifyHookError": task.hook_error} if task.hook_error else {}
    return {
        "id": task.id,
        "action": ACTION,
        "status": task.status.value,
        "prompt": PROMPT,
        "promptEn": PROMPT,
        "description": f"{DESCRIPTION}{task.id}",
        "state": task.state,
        "submitTime": task.submit_time,
        "startTime": start,
        "finishTime": task.finish_time,
        "progress": _progress(task),
        "imageUrl": image_url,
        "failReason": reason,
        "fail_reason": reason,  # some clients read this spelling
        "botType": "INSIGHT_FACE",
        "mode": task.mode.upper() if task.mode else None,
        "buttons": [],
        "properties": {**task.properties, **given_up, "botType": "INSIGHT_FACE", "discordInstanceId": instance, "finalPrompt": ""},
        "displays": {
            "action": ACTION,
            "status": task.status.value,
            "submitTime": _clock(task.submit_time),
            "startTime": _clock(start),
            "finishTime": _clock(task.finish_time),
            "discordInstanceId": instance,
        },
    }


def _done(task: Task) -> bool:
    return task.status is Status.SUCCESS and task.result_name is not None


def _progress(task: Task) -> str:
    if task.status is Status.FAILURE:
        return ""
    return "100%" if _done(task) else f"{max(0, min(task.progress, 99))}%"


def _clock(ms: int | None) -> str | None:
    """As the server's wall clock shows it, for `displays`."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M:%S")
