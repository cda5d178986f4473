"""From the body of a submit to two checked pictures. Pure work on bytes: the route runs it in a thread."""

from __future__ import annotations

import binascii
from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

import pybase64
from pydantic import ValidationError

from serve_app.api.config import ApiConfig, Limits
from serve_app.api.errors import Answer, ApiError
from serve_app.api.jsonbody import parse_json
from serve_app.api.schema import SwapBody, invalid
from serve_app.egress.client import FetchFailed
from serve_app.vision.image import ImageError, probe

_MAX_URL = 2048
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\v\f"
_TOO_LARGE = frozenset({"pixels"})


class Get(Protocol):
    """Fetches what is at a URL. Raises FetchFailed."""

    def __call__(self, url: str, /, *, max_bytes: int) -> Awaitable[bytes]: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """The two pictures of a swap that may be accepted, as files, probed."""

    source: bytes = field(repr=False)
    target: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two pictures: where it stands in the body and how its faults are called."""

    name: str
    missing: Answer
    format: Answer
    size: Answer
    url: Answer


_SOURCE = _Side("source", Answer.SOURCE_MISSING, Answer.SOURCE_FORMAT, Answer.SOURCE_SIZE, Answer.SOURCE_URL)
_TARGET = _Side("target", Answer.TARGET_MISSING, Answer.TARGET_FORMAT, Answer.TARGET_SIZE, Answer.TARGET_URL)


@dataclass(frozen=True, slots=True)
class Given:
    """One picture as a request names it: its file, or the URL that it is to be fetched from. member: the one that held it."""

    side: _Side
    member: str
    data: bytes | None = field(repr=False)
    url: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """A request in which nothing is wrong so far. notify_hook: its own, or None."""

    source: Given
    target: Given
    body: SwapBody = field(repr=False)
    notify_hook: str | None = field(repr=False)

    @property
    def wait_s(self) -> float:
        """How long the client would wait for the end of the task."""
        return self.body.options.wait if self.body.options else 0.0

    @property
    def to_fetch(self) -> int:
        """How many of the two came only as URLs."""
        return sum(given.data is None for given in (self.source, self.target))


def parse_submission(body: bytes, config: ApiConfig) -> Draft:
    """Raises ApiError with the contract's answer for the first thing that is wrong, in the contract's order."""
    swap = _swap_body(body)
    source_member, source_text = _present(_SOURCE, swap.source_base64, swap.source_url)
    target_member, target_text = _present(_TARGET, swap.target_base64, swap.target_url)
    hook = _hook(swap.notify_hook)
    _check_state(swap.state, config.limits.max_state)
    _check_instance(swap.instance_id, config.instances)
    if source_text == target_text:
        raise _same()
    source = _given(_SOURCE, source_member, source_text, config.limits)
    target = _given(_TARGET, target_member, target_text, config.limits)
    if source.data is not None and source.data == target.data:
        raise _same()
    texts = {"source_base64": None, "target_base64": None}  # long, and not needed any more while pictures are fetched
    return Draft(source, target, swap.model_copy(update=texts), hook)


async def fetched(given: Given, get: Get, limits: Limits) -> bytes:
    """The picture's file, fetched where only its URL was given. Raises ApiError."""
    if given.data is not None:
        return given.data
    try:
        return await get(given.url or "", max_bytes=limits.max_image_bytes)
    except FetchFailed as error:
        answer = given.side.size if error.reason == "size" else given.side.url
        reason = f"`{given.member}` could not be fetched: {error}. Send another URL, or the picture itself in `{given.side.name}Base64`."
        raise ApiError(answer, field=given.member, reason=reason) from None


def complete(draft: Draft, source: bytes, target: bytes, limits: Limits) -> Pair:
    """Checks what was fetched as what was sent has been. Raises ApiError."""
    for given, data in ((draft.source, source), (draft.target, target)):
        if given.data is None:
            _check_picture(given.side, given.member, data, limits)
    if source == target:
        raise _same()
    return Pair(source, target)


def _swap_body(body: bytes) -> SwapBody:
    found = parse_json(body)
    if not isinstance(found, dict):
        raise ApiError(Answer.INVALID, field="body", reason="The body must be a JSON object with sourceBase64 and targetBase64.")
    try:
        return SwapBody.model_validate(found)
    except ValidationError as error:
        raise invalid(error) from None


def _present(side: _Side, text: str | None, url: str | None) -> tuple[str, str]:
    """The member that names the picture, and its value. base64 goes before the URL."""
    name = f"{side.name}Base64"
    if text and not text.isspace():
        if text[:64].lstrip()[:4].lower() == "http":
            reason = f"`{name}` holds a URL. Put the picture itself there, as base64 or as a data URL, or the URL into `{side.name}Url`."
            raise ApiError(side.url, field=name, reason=reason)
        return name, text
    if url and url.strip():
        return f"{side.name}Url", url.strip()
    reason = f"`{name}` is missing or blank. Put the picture there, as base64 or as a data URL, or its URL into `{side.name}Url`."
    raise ApiError(side.missing, field=name, reason=reason)


def _given(side: _Side, name: str, text: str, limits: Limits) -> Given:
    if name.endswith("Base64"):
        return Given(side, name, _picture(side, name, text, limits), None)
    if len(text) > _MAX_URL or not is_http_url(text):
        reason = f"`{name}` must be an http or https URL with a host, of at most {_MAX_URL} characters."
        raise ApiError(side.url, field=name, reason=reason)
    return Given(side, name, None, text)


def _hook(hook: str | None) -> str | None:
    hook = (hook or "").strip()
    if not hook:
        return None
    if len(hook) > _MAX_URL or not is_http_url(hook):
        reason = f"`notifyHook` must be an http or https URL with a host, of at most {_MAX_URL} characters; leave it out for no callbacks."
        raise ApiError(Answer.INVALID, field="notifyHook", reason=reason)
    return hook


def is_http_url(url: str) -> bool:
    """Could a request be sent there? Where it may be sent is decided when it is."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")  # empty or overlong labels
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        return False


def _check_instance(instance: str | None, known: Collection[str]) -> None:
    if known and instance and instance not in known:
        reason = "accountFilter.instanceId names no instance of this server. Leave it blank for any."
        raise ApiError(Answer.INSTANCE_UNKNOWN, field="accountFilter.instanceId", instance=instance, reason=reason)


def _check_state(state: str | None, longest: int) -> None:
    if state and len(state) > longest:
        raise ApiError(Answer.INVALID, field="state", reason=f"`state` has {len(state):,} characters; send at most {longest:,}.")
    if state and "\x00" in state:
        raise ApiError(Answer.INVALID, field="state", reason="`state` holds a NUL character. Leave it out.")


def _same() -> ApiError:
    reason = "Source and target are the same picture. Send the face in sourceBase64 and the picture to put it into in targetBase64."
    return ApiError(Answer.SAME_PICTURE, field="targetBase64", reason=reason)


def _picture(side: _Side, name: str, text: str, limits: Limits) -> bytes:
    """The picture's file, checked by its header."""
    data = _base64(text)
    if data is None:
        raise ApiError(side.format, field=name, reason=f"`{name}` is not base64. Send base64 or data:image/...;base64,...")
    _check_picture(side, name, data, limits)
    return data


def _check_picture(side: _Side, name: str, data: bytes, limits: Limits) -> None:
    if len(data) > limits.max_image_bytes:
        reason = f"`{name}` has {len(data):,} bytes; send a picture of at most {limits.max_image_bytes:,}."
        raise ApiError(side.size, field=name, reason=reason)
    try:
        probe(data, max_pixels=limits.max_pixels, min_side=limits.min_side)
    except ImageError as error:
        answer = side.size if error.reason in _TOO_LARGE else side.format
        raise ApiError(answer, field=name, reason=f"`{name}`: {error}") from None


def _base64(text: str) -> bytes | None:
    """Bytes of plain base64 or of a data URL, whose type is not asked for. Blanks, the URL-safe alphabet and missing padding are fine."""
    if text[:64].lstrip()[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.rstrip().lower().endswith(";base64"):
            return None
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    try:
        plain = text.encode("ascii").translate(_URL_SAFE, _BLANKS).rstrip(b"=")
        return pybase64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
