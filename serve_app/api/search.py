"""Several tasks: which ones a list or a query asks for, and the page as Spring servers send it, which admin pages of the contract read."""

from __future__ import annotations

import re

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from serve_app.api.errors import Answer, ApiError
from serve_app.api.jsonbody import parse_json
from serve_app.api.schema import QueryBody, invalid
from serve_app.tasks.query import SORTS, Page, Query
from serve_app.tasks.task import Status

_MAX_IDS = 10_000


def parse_ids(body: bytes) -> list[str]:
    """The ids of a list request: strings or numbers, each once; none where the body or its `ids` is empty or null. Raises ApiError."""
    found = parse_json(body) if body.strip() else None
    if isinstance(found, dict):
        found = found.get("ids")
    if found is None:
        return []
    if not isinstance(found, list):
        raise ApiError(Answer.INVALID, field="ids", reason='`ids` must be a list of task ids, as in {"ids": ["1724000000000123"]}.')
    if len(found) > _MAX_IDS:
        raise ApiError(Answer.INVALID, field="ids", reason=f"Ask for at most {_MAX_IDS:,} tasks at a time.")
    wanted = (str(id).strip() for id in found if isinstance(id, str | int))
    return list(dict.fromkeys(id for id in wanted if 0 < len(id) <= 64))


def parse_query(body: bytes) -> QueryBody:
    """An empty body, or null, asks for the first page. Raises ApiError."""
    found = parse_json(body) if body.strip() else None
    try:
        return QueryBody.model_validate({} if found is None else found)
    except ValidationError as error:
        raise invalid(error) from None


def query_of(body: QueryBody) -> Query | None:
    """None where no task can match: a status that no task ever has. Raises ApiError."""
    statuses = [Status(name) for name in body.status_set or [] if name in Status.__members__]
    if (body.status and body.status not in Status.__members__) or (body.status_set and not statuses):
        return None
    return Query(
        page=body.page_number,
        size=body.page_size,
        sort=_column(body.sort),
        desc=body.sort.partition(",")[2].strip().lower() == "desc",
        ids=[str(id) for id in body.ids or ()],
        id=_text(body.id),
        action=body.action,
        status=Status(body.status) if body.status else None,
        statuses=statuses,
        state=body.state,
        description=body.description,
        fail_reason=body.fail_reason,
        instance_id=_text(body.instance_id),
        prompt=body.prompt or body.prompt_en,
    )


def page_json(found: Page, body: QueryBody, content: list[dict[str, object]]) -> dict[str, object]:
    """content: the tasks of the page as they are shown."""
    number, size, pages = body.page_number, body.page_size, -(-found.total // body.page_size)
    order = {"empty": False, "sorted": True, "unsorted": False}
    return {
        "content": content,
        "empty": not content,
        "first": number == 0,
        "last": number >= pages - 1,
        "number": number,
        "numberOfElements": len(content),
        "pageable": {"offset": number * size, "pageNumber": number, "pageSize": size, "paged": True, "unpaged": False, "sort": order},
        "size": size,
        "sort": order,
        "totalElements": found.total,
        "totalPages": pages,
    }


def _column(sort: str) -> str:
    """submitTime,desc -> submit_time"""
    column = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", sort.partition(",")[0].strip())
    if column not in SORTS:
        names = ", ".join(map(to_camel, SORTS))
        raise ApiError(Answer.INVALID, field="sort", reason=f"`sort` names what to sort by, and asc or desc. It can be one of {names}.")
    return column


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)
