"""What the HTTP side needs to know from the outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, Protocol


class Limits(Protocol):
    """What a request may bring: bytes of body and of one decoded picture; pixels and shortest side of it, how often the longer side may
    hold the shorter, and what becomes of further frames; characters of `state`; pictures in `options.sources`; faces that are named or
    swapped.

    And how bodies may come in, by process: see BodyGate.
    """

    @property
    def max_body_bytes(self) -> int: ...
    @property
    def max_image_bytes(self) -> int: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def min_side(self) -> int: ...
    @property
    def max_aspect(self) -> float: ...
    @property
    def animations(self) -> Literal["first", "refuse"]: ...
    @property
    def max_state(self) -> int: ...
    @property
    def max_sources(self) -> int: ...
    @property
    def max_faces(self) -> int: ...
    @property
    def body_timeout_s(self) -> float: ...
    @property
    def max_bodies(self) -> int: ...
    @property
    def max_bodies_per_address(self) -> int: ...
    @property
    def max_bodies_bytes(self) -> int: ...


class RateConfig(Protocol):
    """Texts such as "600/minute"; None for no limit."""

    @property
    def submits_per_key(self) -> str | None: ...
    @property
    def submits_per_address(self) -> str | None: ...
    @property
    def wrong_keys(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class DefaultLimits:
    max_body_bytes: int = 30_000_000
    max_image_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 40_000_000
    min_side: int = 16
    max_aspect: float = 64.0
    animations: Literal["first", "refuse"] = "first"
    max_state: int = 1024
    max_sources: int = 10
    max_faces: int = 64
    body_timeout_s: float = 30.0
    max_bodies: int = 128
    max_bodies_per_address: int = 16
    max_bodies_bytes: int = 300_000_000


@dataclass(frozen=True, slots=True)
class DefaultRates:
    submits_per_key: str | None = "6000/minute"
    submits_per_address: str | None = "6000/minute"
    wrong_keys: str | None = "30/minute"


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """secret: asked for on every /mj route but the pictures; one more key beside those that were made.
    notify_hook: told when a request names no hook.

    public_url: how clients reach the service, the start of imageUrl; None: as each request came in.
    trusted_proxies: see TrustedProxies.
    instances: the ids that accountFilter.instanceId may name; none: it may name anything. picture_timeout_s: for a picture by URL.
    allow_open: whether a service without any key answers others than its own machine.
    compares_people: whether the model family knows which of several faces is most like another.
    reply_request_id: whether answers get an x-request-id; not behind Ray Serve's proxy, which adds it.
    """

    secret: str | None = field(default=None, repr=False)
    notify_hook: str | None = field(default=None, repr=False)
    public_url: str | None = None
    limits: Limits = DefaultLimits()
    rates: RateConfig = DefaultRates()
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    instances: tuple[str, ...] = ()
    picture_timeout_s: float = 10.0
    allow_open: bool = False
    compares_people: bool = False
    reply_request_id: bool = True
