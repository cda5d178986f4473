"""api/schema.py: bodies are read with tolerance, and our own extensions without."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from serve_app.api.errors import Answer
from serve_app.api.schema import QueryBody, SwapBody, invalid


def refusal(model: type[SwapBody] | type[QueryBody], members: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(members)
    error = invalid(caught.value)
    assert error.answer is Answer.INVALID
    assert error.field
    assert error.reason
    return error.field, error.reason


@pytest.mark.parametrize(
    ("options", "wait"),
    [(None, None), ("", None), ({}, 0), ({"wait": None}, 0), ({"wait": 0}, 0), ({"wait": 60}, 60), ({"wait": 0.5}, 0.5)],
)
def test_options(options: object, wait: float | None) -> None:
    found = SwapBody.model_validate({"options": options, "seed": 5, "mode": "RELAX", "state": ""}).options
    assert (found.wait if found else None) == wait


@pytest.mark.parametrize(
    ("options", "field", "word"),
    [
        ({"wiat": 5}, "options.wiat", "not known"),
        ({"wait": 1, "str": 5}, "options.str", "not known"),
        ({"wait": 60.1}, "options.wait", "less than or equal to 60"),
        ({"wait": -1}, "options.wait", "greater than or equal to 0"),
        ({"wait": True}, "options.wait", "number"),
        ({"wait": "5"}, "options.wait", "number"),
        ({"wait": float("nan")}, "options.wait", "60"),
        ([], "options", "JSON object"),
        ("wait", "options", "JSON object"),
        (5, "options", "JSON object"),
    ],
)
def test_wrong_options_are_refused_by_name(options: object, field: str, word: str) -> None:
    found, reason = refusal(SwapBody, {"options": options})
    assert found == field
    assert word in reason
    assert field in reason


def test_a_reason_is_short_whatever_the_name_and_quotes_no_value() -> None:
    field, reason = refusal(SwapBody, {"options": {"x" * 100_000: 1}})
    assert len(field) + len(reason) < 300
    assert "secret" not in refusal(SwapBody, {"options": {"wait": "secret"}})[1]
    assert "secret" not in refusal(SwapBody, {"notifyHook": ["https://user:secret@host"]})[1]


def test_a_query() -> None:
    empty = QueryBody.model_validate({"pageNumber": None, "status": "", "ids": None, "current": 3})
    assert (empty.page_number, empty.page_size, empty.sort, empty.status, empty.ids) == (0, 10, "submitTime,desc", None, None)
    full = QueryBody.model_validate({"pageNumber": 2, "pageSize": 50, "sort": "id,asc", "statusSet": ["SUCCESS"], "ids": [1, "2"]})
    assert (full.page_number, full.page_size, full.sort, full.status_set, full.ids) == (2, 50, "id,asc", ["SUCCESS"], [1, "2"])


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"pageNumber": -1}, "pageNumber"),
        ({"pageSize": 1001}, "pageSize"),
        ({"pageSize": 0}, "pageSize"),
        ({"pageSize": "ten"}, "pageSize"),
        ({"statusSet": "SUCCESS"}, "statusSet"),
        ({"ids": [1.5]}, "ids.0"),
        ({"id": {}}, "id"),
        ({"status": 5}, "status"),
        ([], "body"),
    ],
)
def test_a_wrong_query_is_refused_by_name(members: object, field: str) -> None:
    assert refusal(QueryBody, members)[0] == field
