"""A body as JSON, bounded before it becomes objects."""

from __future__ import annotations

import orjson

from serve_app.api.errors import Answer, ApiError

_STRUCTURE = (b"[", b"{", b",")
_MAX_STRUCTURE = 100_000


def parse_json(body: bytes) -> object:
    """Raises ApiError."""
    # base64 has none of these: without the check, 30 MB of brackets become a gigabyte of objects.
    if not _simple(body):
        raise ApiError(Answer.INVALID, field="body", reason=f"The body has more than {_MAX_STRUCTURE:,} lists, objects and members.")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(Answer.INVALID, field="body", reason=f"The body is not valid JSON ({error}). Send a JSON object.") from None


def _simple(body: bytes) -> bool:
    """Whether it has at most _MAX_STRUCTURE signs of a structure. `find` goes from one to the next in a tenth of `count`'s time."""
    left = _MAX_STRUCTURE
    for sign in _STRUCTURE:
        at = body.find(sign)
        while at >= 0:
            left -= 1
            if left < 0:
                return False
            at = body.find(sign, at + 1)
    return True
