"""Examples of what comes in and what goes out, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from serve_app.api import schema

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAA..."
TASK: dict[str, Any] = {
    "id": "1724000000000123",
    "action": "SWAP_FACE",
    "status": "SUCCESS",
    "prompt": "InsightFace",
    "promptEn": "InsightFace",
    "description": "/swap 1724000000000123",
    "state": "room:user",
    "submitTime": 1724000000000,
    "startTime": 1724000000350,
    "finishTime": 1724000000540,
    "progress": "100%",
    "imageUrl": "https://faces.example/mj/image/1724000000000123-Zk3abcdefghijklmnopqrs.png",
    "failReason": None,
    "fail_reason": None,
    "botType": "INSIGHT_FACE",
    "mode": "FAST",
    "buttons": [],
    "properties": {"botType": "INSIGHT_FACE", "discordInstanceId": "61", "finalPrompt": ""},
    "displays": {
        "action": "SWAP_FACE",
        "status": "SUCCESS",
        "submitTime": "2024-08-18 16:53:20",
        "startTime": "2024-08-18 16:53:20",
        "finishTime": "2024-08-18 16:53:20",
        "discordInstanceId": "61",
    },
}
BODIES: dict[type[BaseModel], dict[str, Any]] = {
    schema.SwapBody: {
        "sourceBase64": f"data:image/png;base64,{_PIXEL}",
        "targetBase64": f"data:image/png;base64,{_PIXEL}",
        "state": "room:user",
        "notifyHook": "https://client.example/hook",
        "accountFilter": {"instanceId": "61"},
    },
    schema.DetectBody: {"targetBase64": f"data:image/png;base64,{_PIXEL}"},
    schema.IdsBody: {"ids": [TASK["id"]]},
    schema.ResendBody: {"host": "client.example", "dead": True},
    schema.QueryBody: {"pageNumber": 0, "pageSize": 10, "sort": "submitTime,desc", "statusSet": ["SUCCESS"]},
}
