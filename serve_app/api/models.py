"""What goes out, as models: for the OpenAPI document, and for tests that hold real answers against it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Status = Literal["NOT_START", "SUBMITTED", "IN_PROGRESS", "SUCCESS", "FAILURE"]
Millis = Annotated[int, Field(json_schema_extra={"format": "int64"})]


def _without_default(shape: dict[str, Any]) -> None:
    shape.pop("default", None)


def _seldom(description: str) -> Any:
    """A member that is absent at times and never null: pydantic knows no such thing, so the default is taken out of the schema again."""
    return Field(None, description=description, json_schema_extra=_without_default)


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, strict=True, extra="forbid")


class Displays(Model):
    """What people read, by the server's clock."""

    action: str
    status: Status
    submit_time: str
    start_time: str | None
    finish_time: str | None
    discord_instance_id: str


class TaskProperties(Model):
    model_config = ConfigDict(extra="allow")

    bot_type: Literal["INSIGHT_FACE"]
    discord_instance_id: str
    final_prompt: str
    notify_hook_error: str = _seldom("Why the task's hook was given up.")


class Task(Model):
    """A swap. All members are there in every state."""

    id: str = Field(pattern=r"^\d{16}$")
    action: Literal["SWAP_FACE"]
    status: Status
    prompt: str
    prompt_en: str
    description: str
    state: str | None
    submit_time: Millis = Field(description="Milliseconds since 1970.")
    start_time: Millis | None
    finish_time: Millis | None
    progress: str = Field(pattern=r"^(\d{1,2}%|100%|)$", description='"100%" only with SUCCESS, "" on FAILURE.')
    image_url: str | None
    fail_reason: str | None
    fail_reason_: str | None = Field(alias="fail_reason", description="The same as failReason.")
    bot_type: Literal["INSIGHT_FACE"]
    mode: Literal["FAST", "RELAX", "TURBO"] | None
    buttons: list[Any] = Field(max_length=0)
    properties: TaskProperties
    displays: Displays


class Envelope(Model):
    """Every answer that is not a task, a list or a picture."""

    model_config = ConfigDict(extra="allow")

    code: int = Field(description="1: done. Anything else is no success, whatever the HTTP status.")
    description: str = Field(description="In Chinese, or in English with the request header `language: en`.")
    result: str | None = Field(description="The id of an accepted task; null where there is none.")
    properties: dict[str, Any] = Field(description="`field` and `reason` name what was wrong with the request.")
    task: Task = _seldom("Where the request waits for the end of the task: as it is then.")
    error: str = Field("", description="The HTTP status in words, where it is not 200.")


class Sort(Model):
    empty: bool
    sorted: bool
    unsorted: bool


class Pageable(Model):
    offset: int
    page_number: int
    page_size: int
    paged: bool
    unpaged: bool
    sort: Sort


class Page(Model):
    """A page of tasks."""

    content: list[Task]
    empty: bool
    first: bool
    last: bool
    number: int
    number_of_elements: int
    pageable: Pageable
    size: int
    sort: Sort
    total_elements: int
    total_pages: int


class Hook(Model):
    """One state of one task that its hook has not heard, or not yet."""

    task: str
    status: Status
    state: Literal["pending", "trying", "dead"] = Field(description="dead: given up.")
    host: str = Field(description="Of the hook's URL; the rest is nobody's business.")
    owner: str = Field(description="Id of the task's key.")
    created: Millis
    due: Millis | None = Field(description="When it is tried next; null: never.")
    attempts: int
    error: str | None


class Hooks(Model):
    """Callbacks that are owed or were given up, oldest first."""

    pending: int = Field(description="How many are owed, whatever was asked for.")
    oldest: Millis | None = Field(description="Since when the oldest of them is.")
    dead: int = Field(description="How many were given up.")
    hooks: list[Hook]


class Resent(Model):
    """How many tasks' hooks hear again."""

    count: int


class Health(Model):
    """Whether the models answer, and what they are."""

    model_config = ConfigDict(extra="allow")

    status: str
