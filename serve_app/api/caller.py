"""Whose request this is."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Scope

from serve_app.api.errors import Answer, ApiError
from serve_app.tasks.keys import Role
from serve_app.tasks.quota import Quota

NO_LIMITS = Quota()
_SCOPE = "faceswap.caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """key: id of the key that was shown, "" where the service has none and is open. quota: what the key may ask for."""

    key: str
    role: Role
    quota: Quota = NO_LIMITS

    @property
    def owner(self) -> str | None:
        """Whose tasks the caller sees; None: everybody's."""
        return self.key or None

    @staticmethod
    def of(request: Request) -> Caller:
        """Who `introduce` said it is."""
        caller = request.scope[_SCOPE]
        assert isinstance(caller, Caller)
        return caller


def require_admin(request: Request) -> None:
    """Raises ApiError FORBIDDEN."""
    if Caller.of(request).role != "admin":
        raise ApiError(Answer.FORBIDDEN, reason="Only keys with the role admin may ask this.")


def introduce(scope: Scope, caller: Caller) -> Scope:
    """The scope of a request by this caller."""
    return {**scope, _SCOPE: caller}
