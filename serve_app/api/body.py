"""The bytes of a request, bounded while they come in."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from serve_app.api.errors import Answer, ApiError


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises ApiError BODY_TOO_LARGE, without reading further, by the stated length or at the first byte past `limit`."""
    stated = request.headers.get("content-length", "")
    if stated.isascii() and stated.isdigit() and int(stated[:20]) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    except ClientDisconnect:
        raise ApiError(Answer.INVALID, field="body", reason="The connection ended before the body did. Send it again.") from None
    return b"".join(parts)


def _too_large(limit: int) -> ApiError:
    return ApiError(Answer.BODY_TOO_LARGE, field="body", reason=f"The body has more than {limit:,} bytes. Send smaller pictures.")
