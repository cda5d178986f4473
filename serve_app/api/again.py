"""A request that our proxy may have sent before: to a replica that died and may have done it, or not. See deployments/failover.py."""

from __future__ import annotations

from starlette.requests import Request

HEADER = b"x-faceswap-sent"  # never a client's: the proxy takes it away


def mark(token: str, number: int) -> tuple[bytes, bytes]:
    """The header of the number-th sending, from 0, of the request that `token` names."""
    return HEADER, f"{token}-{number}".encode()


def sent_before(request: Request) -> bool:
    """What it asks for may have been done already."""
    return _sent(request)[1] not in ("", "0")


def sending_key(request: Request) -> str | None:
    """An idempotency key for all sendings of this request. It has a blank, which no client's key has."""
    token, number = _sent(request)
    return f"sent {token}" if number else None


def _sent(request: Request) -> tuple[str, str]:
    token, _, number = request.headers.get(HEADER.decode(), "").partition("-")
    return token[:64], number
