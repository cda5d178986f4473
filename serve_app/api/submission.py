"""From the body of a submit to checked pictures. Pure work on bytes: the route runs it in a thread."""

from __future__ import annotations

import binascii
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import pybase64
from pydantic import BaseModel, ValidationError

from serve_app.api import schema
from serve_app.api.config import ApiConfig, Limits
from serve_app.api.errors import Answer, ApiError
from serve_app.api.jsonbody import parse_json
from serve_app.api.plan import plan
from serve_app.api.schema import SwapBody, invalid
from serve_app.egress.client import FetchFailed
from serve_app.options import Options
from serve_app.vision.image import OUTPUTS, SIDES, Header, ImageError, probe, too_long

Model = TypeVar("Model", bound=BaseModel)

_MAX_URL = 2048
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\v\f"
_TOO_LARGE = frozenset({"pixels"})


class Get(Protocol):
    """Fetches what is at a URL. Raises FetchFailed."""

    def __call__(self, url: str, /, *, max_bytes: int) -> Awaitable[bytes]: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """The pictures of a swap that may be accepted, as files, probed. more: those that its options bring."""

    source: bytes = field(repr=False)
    target: bytes = field(repr=False)
    more: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class _Side:
    """One kind of picture: how its faults are called."""

    missing: Answer
    format: Answer
    size: Answer
    url: Answer


_SOURCE = _Side(Answer.SOURCE_MISSING, Answer.SOURCE_FORMAT, Answer.SOURCE_SIZE, Answer.SOURCE_URL)
_TARGET = _Side(Answer.TARGET_MISSING, Answer.TARGET_FORMAT, Answer.TARGET_SIZE, Answer.TARGET_URL)


_REFERENCE = _Side(Answer.INVALID, Answer.INVALID, Answer.INVALID, Answer.INVALID)


class _Form(NamedTuple):
    """The names of the two members that a picture may stand in."""

    base64: str
    url: str


_SOURCE_FORM, _TARGET_FORM = _Form("sourceBase64", "sourceUrl"), _Form("targetBase64", "targetUrl")


@dataclass(frozen=True, slots=True)
class Given:
    """One picture as a request names it: its file, or the URL that it is to be fetched from. member: the one that held it; instead: the
    one that may hold the file."""

    side: _Side
    member: str
    instead: str
    data: bytes | None = field(repr=False)
    url: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """A request in which nothing is wrong so far. more: the pictures that its options bring. body: without pictures and options.
    notify_hook: its own, or None. wait_s: how long the client would wait for the end of the task."""

    source: Given
    target: Given
    more: tuple[Given, ...]
    options: Options
    body: SwapBody = field(repr=False)
    notify_hook: str | None = field(repr=False)
    wait_s: float

    @property
    def pictures(self) -> tuple[Given, ...]:
        return (self.source, self.target, *self.more)

    @property
    def to_fetch(self) -> int:
        """How many came only as URLs."""
        return sum(given.data is None for given in self.pictures)


def parse_submission(body: bytes, config: ApiConfig) -> Draft:
    """Raises ApiError with the contract's answer for the first thing that is wrong, in the contract's order."""
    swap = _model(body, SwapBody, "sourceBase64 and targetBase64")
    asked = swap.options or schema.Options()
    options = plan(asked, own=bool(swap.source_base64 or swap.source_url), config=config)
    if options.main:
        source_member, source_text = _present(_SOURCE, _SOURCE_FORM, swap.source_base64, swap.source_url)
    target_member, target_text = _present(_TARGET, _TARGET_FORM, swap.target_base64, swap.target_url)
    hook = _hook(swap.notify_hook)
    _check_state(swap.state, config.limits.max_state)
    _check_instance(swap.instance_id, config.instances)
    if options.main and source_text == target_text:
        raise _same()
    more = _further(asked, config.limits)
    source = _given(_SOURCE, source_member, _SOURCE_FORM, source_text, config.limits) if options.main else more.pop(0)
    target = _given(_TARGET, target_member, _TARGET_FORM, target_text, config.limits)
    if options.main and source.data is not None and source.data == target.data:
        raise _same()
    texts = {"source_base64": None, "target_base64": None, "options": None}  # long, and not needed any more while pictures are fetched
    return Draft(source, target, tuple(more), options, swap.model_copy(update=texts), hook, asked.wait)


def _further(asked: schema.Options, limits: Limits) -> list[Given]:
    """The pictures of `sources`, then the reference."""
    found = []
    wanted: list[tuple[_Side, str, schema.Further]] = [
        (_SOURCE, f"options.sources.{number}", one) for number, one in enumerate(asked.sources or ())
    ]
    if asked.reference:
        wanted.append((_REFERENCE, "options.reference", asked.reference))
    for side, name, one in wanted:
        form = _Form(f"{name}.base64", f"{name}.url")
        member, text = _present(side, form, one.base64, one.url)
        found.append(_given(side, member, form, text, limits))
    return found


def parse_detection(body: bytes, limits: Limits) -> Given:
    """The picture in which faces are looked for. Raises ApiError."""
    asked = _model(body, schema.DetectBody, "targetBase64")
    member, text = _present(_TARGET, _TARGET_FORM, asked.target_base64, asked.target_url)
    return _given(_TARGET, member, _TARGET_FORM, text, limits)


def checked(given: Given, data: bytes, limits: Limits) -> bytes:
    """The file of a picture, checked also where it was fetched. Raises ApiError."""
    if given.data is None:
        _check_picture(given.side, given.member, data, limits)
    return data


async def fetched(given: Given, get: Get, limits: Limits) -> bytes:
    """The picture's file, fetched where only its URL was given. Raises ApiError."""
    if given.data is not None:
        return given.data
    try:
        return await get(given.url or "", max_bytes=limits.max_image_bytes)
    except FetchFailed as error:
        answer = given.side.size if error.reason == "size" else given.side.url
        reason = f"`{given.member}` could not be fetched: {error}. Send another URL, or the picture itself in `{given.instead}`."
        raise ApiError(answer, field=given.member, reason=reason) from None


def complete(draft: Draft, pictures: Sequence[bytes], limits: Limits) -> Pair:
    """Checks what was fetched as what was sent has been. pictures: the files of `draft.pictures`. Raises ApiError."""
    for given, data in zip(draft.pictures, pictures, strict=True):
        checked(given, data, limits)
    source, target, *more = pictures
    if draft.options.main and source == target:
        raise _same()
    if more and sum(map(len, pictures)) > limits.max_body_bytes:
        reason = f"All pictures together may have {limits.max_body_bytes:,} bytes. Send fewer, or smaller ones."
        raise ApiError(Answer.SOURCE_SIZE, field="options", reason=reason)
    _check_output(draft.options, target, limits)
    return Pair(source, target, tuple(more))


def _model(body: bytes, model: type[Model], members: str) -> Model:
    found = parse_json(body)
    if not isinstance(found, dict):
        raise ApiError(Answer.INVALID, field="body", reason=f"The body must be a JSON object with {members}.")
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise invalid(error) from None


def _present(side: _Side, form: _Form, text: str | None, url: str | None) -> tuple[str, str]:
    """The member that names the picture, and its value. base64 goes before the URL."""
    name = form.base64
    if text and not text.isspace():
        if text[:64].lstrip()[:4].lower() == "http":
            reason = f"`{name}` holds a URL. Put the picture itself there, as base64 or as a data URL, or the URL into `{form.url}`."
            raise ApiError(side.url, field=name, reason=reason)
        return name, text
    if url and url.strip():
        return form.url, url.strip()
    reason = f"`{name}` is missing or blank. Put the picture there, as base64 or as a data URL, or its URL into `{form.url}`."
    raise ApiError(side.missing, field=name, reason=reason)


def _given(side: _Side, name: str, form: _Form, text: str, limits: Limits) -> Given:
    if name == form.base64:
        return Given(side, name, form.base64, _picture(side, name, text, limits), None)
    if len(text) > _MAX_URL or not is_http_url(text):
        reason = f"`{name}` must be an http or https URL with a host, of at most {_MAX_URL} characters."
        raise ApiError(side.url, field=name, reason=reason)
    return Given(side, name, form.base64, None, text)


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
        _header(data, limits)
    except ImageError as error:
        answer = side.size if error.reason in _TOO_LARGE else side.format
        raise ApiError(answer, field=name, reason=f"`{name}`: {error}") from None


def _header(data: bytes, limits: Limits) -> Header:
    return probe(data, max_pixels=limits.max_pixels, min_side=limits.min_side, max_aspect=limits.max_aspect, animations=limits.animations)


def _check_output(options: Options, target: bytes, limits: Limits) -> None:
    """Can the result be written as it was asked for?"""
    if options.output is None or options.output.format is None:
        return
    header, format = _header(target, limits), OUTPUTS[options.output.format]
    if max(header.width, header.height) > SIDES[format]:
        reason = too_long(format, header.width, header.height)
        raise ApiError(Answer.INVALID, field="options.output.format", reason=f"`options.output.format`: {reason}")


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
