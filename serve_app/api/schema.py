"""What comes in and what goes out, member by member, as clients of the Midjourney-Proxy contract know it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from serve_app.tasks.task import Status, Task

_MAX_INSTANCE_ID = 255
_UNKNOWN_FAILURE = "系统异常"


class SwapBody(BaseModel):
    """POST /mj/insight-face/swap. Members that we do not know are tolerated, null and "" mean absent."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", strict=True, hide_input_in_errors=True)

    source_base64: str | None = None
    target_base64: str | None = None
    source_url: str | None = None
    target_url: str | None = None
    notify_hook: str | None = None
    state: str | None = None
    account_filter: Any = None

    @property
    def instance_id(self) -> str | None:
        """accountFilter.instanceId, whatever the shape around it; None where there is none that could name an instance."""
        found = self.account_filter.get("instanceId") if isinstance(self.account_filter, dict) else None
        if isinstance(found, int) and not isinstance(found, bool):
            found = str(found)
        if not isinstance(found, str) or len(found) > _MAX_INSTANCE_ID or "\x00" in found:
            return None
        return found.strip() or None


def task_json(task: Task, public_url: str | None) -> dict[str, object]:
    """A task as fetch, lists and callbacks show it: the contract's types, strictly, and every core member always there.

    progress is never null, "100%" only together with SUCCESS and imageUrl, "" on failure. failReason is a text on failure and null
    otherwise. Times are integers or null, and a finished task has a startTime. There is no imageUrls or videoUrls: clients take
    even an empty list for pictures. The hook is not repeated: it may be the operator's own.
    """
    image_url = f"{(public_url or task.base_url).rstrip('/')}/mj/image/{task.result_name}" if _done(task) else None
    reason = (task.fail_reason or _UNKNOWN_FAILURE) if task.status is Status.FAILURE else None
    start = task.submit_time if task.start_time is None and task.finish_time is not None else task.start_time
    instance = task.instance_id or ""
    return {
        "id": task.id,
        "action": "SWAP_FACE",
        "status": task.status.value,
        "prompt": "InsightFace",
        "promptEn": "InsightFace",
        "description": f"/swap {task.id}",
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
        "properties": {**task.properties, "botType": "INSIGHT_FACE", "discordInstanceId": instance, "finalPrompt": ""},
        "displays": {
            "action": "SWAP_FACE",
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
