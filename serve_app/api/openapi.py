"""The OpenAPI 3.1 document, from the models of what comes in and goes out and the table of answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serve_app.api import models, schema
from serve_app.api.errors import Answer
from serve_app.api.examples import BODIES, TASK

_REF = "#/components/schemas/"
_EVERYWHERE = (Answer.INTERNAL,)
_STORED = (Answer.STORE_DOWN,)
_KEYED = (Answer.UNAUTHORIZED, Answer.KEY_DISABLED, Answer.KEY_EXPIRED, Answer.RATE_LIMITED)
_SENT = (Answer.INVALID, Answer.BODY_SLOW, Answer.BODY_TOO_LARGE, Answer.TOO_MANY_BODIES, Answer.BUSY)
_SWAP = (
    *(Answer[f"{side}_{fault}"] for side in ("SOURCE", "TARGET") for fault in ("MISSING", "FORMAT", "SIZE", "URL")),
    Answer.SAME_PICTURE,
    Answer.INSTANCE_UNKNOWN,
    Answer.IDEMPOTENCY_MISMATCH,
    Answer.DAILY_LIMIT,
    Answer.CONCURRENT_LIMIT,
    Answer.QUEUE_FULL,
    Answer.SUBMIT_FAILED,
)
_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "language": ("`en`: descriptions in English.", {"type": "string"}),
    "x-request-id": ("Repeated in the answer and in the log.", {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$"}),
    "Idempotency-Key": ("The same key gives the first answer again.", {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"}),
    "Prefer": (f"`wait=N`: wait up to N seconds, at most {schema.MAX_WAIT_S}, for the end of the task.", {"type": "string"}),
    "traceparent": ("The trace that the request belongs to, as W3C has it.", {"type": "string"}),
}
_COMMON = ("language", "x-request-id")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. gives: the model of a success, or its content by media type. answers: the others that it has of its own."""

    method: str
    path: str
    summary: str
    gives: Any
    takes: type[BaseModel] | None = None
    answers: tuple[Answer, ...] = ()
    headers: tuple[str, ...] = ()
    body_required: bool = False
    query: type[BaseModel] | None = None


def _list(of: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "array", "items": {"$ref": _REF + of.__name__}}, "example": [TASK]}}


_PICTURES = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/jpeg", "image/png", "image/webp", "image/avif")}
_TEXT = {"application/json": {"schema": {"type": "object"}}}
_HOOKS = {"application/json": {"schema": {"type": "array", "items": {"$ref": _REF + models.Hook.__name__}}}}
_ONE = (Answer.TASK_UNKNOWN, *_STORED)

OPERATIONS = (
    Operation(
        "POST",
        "/mj/insight-face/swap",
        "Ask for a swap. Accepted only where `code` is 1; `result` is then the task's id.",
        models.Envelope,
        schema.SwapBody,
        (Answer.ACCEPTED, *_SWAP),
        ("Idempotency-Key", "Prefer", "traceparent"),
        body_required=True,
    ),
    Operation(
        "POST",
        "/mj/insight-face/detect",
        "The faces of a picture, numbered as `options.faces` of a swap numbers them.",
        models.Envelope,
        schema.DetectBody,
        (Answer.DETECTED, *(Answer[f"TARGET_{fault}"] for fault in ("MISSING", "FORMAT", "SIZE", "URL"))),
        body_required=True,
    ),
    Operation("GET", "/mj/task/{id}/fetch", "One task.", models.Task, answers=_ONE),
    Operation("POST", "/mj/task/list-by-condition", "Several tasks by id: those that exist.", _list(models.Task), schema.IdsBody, _STORED),
    Operation("POST", "/mj/task/list-by-ids", "The same.", _list(models.Task), schema.IdsBody, _STORED),
    Operation("GET", "/mj/task/queue", "The tasks that have not ended, oldest first.", _list(models.Task), answers=_STORED),
    Operation("GET", "/mj/task/list", "The newest tasks.", _list(models.Task), answers=_STORED),
    Operation("POST", "/mj/task/query", "Tasks, page by page.", models.Page, schema.QueryBody, _STORED),
    Operation(
        "POST",
        "/mj/task/{id}/cancel",
        "End a task that has not ended.",
        models.Envelope,
        answers=(Answer.CANCELLED, Answer.TASK_ENDED, *_ONE),
    ),
    Operation("DELETE", "/mj/task/{id}", "Delete a task and its pictures.", models.Envelope, answers=(Answer.DELETED, *_ONE)),
    Operation(
        "GET",
        "/mj/task/{id}/image-seed",
        "There is none for a swap.",
        models.Envelope,
        answers=(Answer.SEED_NONE, Answer.SEED_UNKNOWN, *_STORED),
    ),
    Operation("GET", "/mj/image/{name}", "A result. Needs no key.", _PICTURES, answers=(Answer.IMAGE_UNKNOWN, Answer.IMAGE_GONE, *_STORED)),
    Operation(
        "POST",
        "/mj/task-admin/query",
        "Tasks of every key, page by page.",
        models.Page,
        schema.QueryBody,
        (Answer.FORBIDDEN, *_STORED),
    ),
    Operation("GET", "/mj/task-admin/{id}/fetch", "One task of any key.", models.Task, answers=(Answer.FORBIDDEN, *_ONE)),
    Operation(
        "GET",
        "/mj/task-admin/hooks",
        "Callbacks that are owed or were given up, of every key.",
        models.Hooks,
        answers=(Answer.INVALID, Answer.FORBIDDEN, *_STORED),
        query=schema.HookQuery,
    ),
    Operation(
        "GET",
        "/mj/task-admin/hooks/{id}",
        "What the hook of one task has not heard.",
        _HOOKS,
        answers=(Answer.FORBIDDEN, *_ONE),
    ),
    Operation(
        "POST",
        "/mj/task-admin/hooks/resend",
        "Send callbacks again: of a task, or everything of a host, or what was given up.",
        models.Resent,
        schema.ResendBody,
        (Answer.FORBIDDEN, *_ONE),
        body_required=True,
    ),
    Operation("GET", "/health", "What runs here. Always 200.", models.Health),
    Operation("GET", "/ready", "Whether tasks are accepted: 200 or 503.", models.Health),
    Operation("GET", "/openapi.json", "This document.", _TEXT),
)


def document(root: str = "", operations: Iterable[Operation] = OPERATIONS) -> dict[str, Any]:
    """The document for a service that stands at the path `root` of its host."""
    models_used = [
        (model, mode)
        for mode, group in (
            ("validation", (schema.SwapBody, schema.DetectBody, schema.IdsBody, schema.QueryBody, schema.ResendBody)),
            ("serialization", (models.Envelope, models.Task, models.Page, models.Hooks, models.Resent, models.Health)),
        )
        for model in group
    ]
    # Typed for an invariant list of pairs.
    _, definitions = models_json_schema(models_used, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "faceswap-serve",
            "version": "1",
            "description": "Face swaps behind the Midjourney-Proxy contract. Every /mj path also stands under /mj-fast, /mj-relax and "
            "/mj-turbo, which set the mode of a submit.",
        },
        "servers": [{"url": root or "/"}],
        "security": [{}, {"secret": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "secret": {"type": "apiKey", "in": "header", "name": "mj-api-secret"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", operation.path)
    found: dict[str, Any] = {
        "operationId": "_".join(re.findall(r"\w+", f"{operation.method.lower()} {operation.path}")),
        "summary": operation.summary,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names),
            *(_queried(operation.query) if operation.query else ()),
            *(_header(name) for name in (*_COMMON, *operation.headers)),
        ],
        "responses": _responses(operation),
    }
    if operation.takes:
        content = {"schema": {"$ref": _REF + operation.takes.__name__}, "example": BODIES[operation.takes]}
        found["requestBody"] = {"required": operation.body_required, "content": {"application/json": content}}
    if not _keyed(operation):
        found["security"] = []
    return found


def _keyed(operation: Operation) -> bool:
    return operation.path.startswith("/mj/") and not operation.path.startswith("/mj/image/")


def _queried(model: type[BaseModel]) -> list[dict[str, Any]]:
    members = model.model_json_schema()["properties"]
    return [{"name": name, "in": "query", "description": shape.pop("description"), "schema": shape} for name, shape in members.items()]


def _header(name: str) -> dict[str, Any]:
    description, shape = _HEADERS[name]
    return {"name": name, "in": "header", "description": description, "schema": shape}


def _responses(operation: Operation) -> dict[str, Any]:
    answers = [*operation.answers, *_EVERYWHERE]
    if _keyed(operation):
        answers += _KEYED
    if operation.takes:
        answers += _SENT
    found: dict[str, Any] = {}
    for status in sorted({200, *(answer.status for answer in answers)}):
        own = [answer for answer in answers if answer.status == status]
        found[str(status)] = _success(operation, own) if status == 200 else _failure(own)
    if operation.path == "/ready":
        found["503"] = {**_success(operation, []), "description": "No."}
    return found


def _success(operation: Operation, answers: list[Answer]) -> dict[str, Any]:
    gives = operation.gives
    if isinstance(gives, dict):
        content = dict(gives)
        if answers:
            own = content["application/json"]
            content["application/json"] = {**own, "schema": {"anyOf": [own["schema"], {"$ref": _REF + "Envelope"}]}}
        return {"description": _described(answers), "content": content}
    several = {gives, models.Envelope} if answers else {gives}
    refs = [{"$ref": _REF + model.__name__} for model in sorted(several, key=lambda model: model.__name__)]
    content = {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}, "examples": _examples(answers)}
    if models.Task in several:
        content["examples"]["task"] = {"value": TASK}
    if not content["examples"]:
        del content["examples"]
    return {"description": _described(answers), "content": {"application/json": content}}


def _failure(answers: list[Answer]) -> dict[str, Any]:
    content = {"schema": {"$ref": _REF + "Envelope"}, "examples": _examples(answers)}
    found: dict[str, Any] = {"description": _described(answers), "content": {"application/json": content}}
    if answers[0].status in {429, 503}:
        found["headers"] = {"Retry-After": {"description": "Seconds; not on every answer.", "schema": {"type": "integer"}}}
    return found


def _examples(answers: list[Answer]) -> dict[str, Any]:
    return {answer.name: {"summary": answer.english, "value": _example(answer)} for answer in answers}


def _example(answer: Answer) -> dict[str, Any]:
    told = {"field": "notifyHook", "reason": "`notifyHook` must be a string or null."} if answer is Answer.INVALID else {}
    found = {
        "code": answer.code,
        "description": answer.description.format(field="notifyHook", instance="61"),
        "result": TASK["id"] if answer is Answer.ACCEPTED else None,
        "properties": told,
    }
    return found if answer.status == 200 else {**found, "error": HTTPStatus(answer.status).phrase}


def _described(answers: list[Answer]) -> str:
    return " / ".join(f"{answer.code} {answer.description} ({answer.english})" for answer in answers) or "Done."
