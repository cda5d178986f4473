"""What the HTTP side needs to know from the outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class Limits(Protocol):
    """What a request may bring: bytes of body and of one decoded picture, pixels and shortest side of it, characters of `state`."""

    @property
    def max_body_bytes(self) -> int: ...
    @property
    def max_image_bytes(self) -> int: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def min_side(self) -> int: ...
    @property
    def max_state(self) -> int: ...


@dataclass(frozen=True, slots=True)
class DefaultLimits:
    max_body_bytes: int = 30_000_000
    max_image_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 40_000_000
    min_side: int = 16
    max_state: int = 1024


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """secret: asked for on every /mj route but the pictures; None or blank: open. notify_hook: told when a request names no hook.

    public_url: how clients reach the service, the start of imageUrl; None: as each request came in.
    max_waiting: a submit is refused (code 23) while this many tasks wait.
    """

    secret: str | None = field(default=None, repr=False)
    notify_hook: str | None = field(default=None, repr=False)
    public_url: str | None = None
    limits: Limits = DefaultLimits()
    max_waiting: int = 1000
