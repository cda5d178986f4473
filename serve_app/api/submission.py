"""From the body of a submit to two checked pictures. Pure work on bytes: the route runs it in a thread."""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson
import pybase64
from pydantic import ValidationError

from serve_app.api.config import Limits
from serve_app.api.errors import Answer, ApiError
from serve_app.api.schema import SwapBody
from serve_app.vision.image import ImageError, probe

_MAX_HOOK = 2048
_MAX_IDS = 10_000
_STRUCTURE = (b"[", b"{", b",")
_MAX_STRUCTURE = 100_000
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\v\f"
_TOO_LARGE = frozenset({"pixels"})


@dataclass(frozen=True, slots=True)
class Submission:
    """A swap that may be accepted. source, target: the pictures as files, probed. notify_hook: of the request, or None."""

    source: bytes = field(repr=False)
    target: bytes = field(repr=False)
    state: str | None = field(repr=False)
    notify_hook: str | None = field(repr=False)
    instance_id: str | None


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


def parse_submission(body: bytes, limits: Limits) -> Submission:
    """Raises ApiError with the contract's answer for the first thing that is wrong, in the contract's order."""
    swap = _swap_body(body)
    source_text = _present(_SOURCE, swap.source_base64, swap.source_url)
    target_text = _present(_TARGET, swap.target_base64, swap.target_url)
    hook = _hook(swap.notify_hook)
    _check_state(swap.state, limits.max_state)
    if source_text == target_text:
        raise _same()
    source = _picture(_SOURCE, source_text, limits)
    target = _picture(_TARGET, target_text, limits)
    if source == target:
        raise _same()
    return Submission(source, target, swap.state, hook, swap.instance_id)


def parse_ids(body: bytes) -> list[str]:
    """The ids of a list request: strings or numbers, each once; none where the body or its `ids` is empty or null. Raises ApiError."""
    found = _json(body) if body.strip() else None
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


def _json(body: bytes) -> object:
    # base64 has none of these: without the check, 30 MB of brackets become a gigabyte of objects.
    if sum(map(body.count, _STRUCTURE)) > _MAX_STRUCTURE:
        raise ApiError(Answer.INVALID, field="body", reason=f"The body has more than {_MAX_STRUCTURE:,} lists, objects and members.")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(Answer.INVALID, field="body", reason=f"The body is not valid JSON ({error}). Send a JSON object.") from None


def _swap_body(body: bytes) -> SwapBody:
    found = _json(body)
    if not isinstance(found, dict):
        raise ApiError(Answer.INVALID, field="body", reason="The body must be a JSON object with sourceBase64 and targetBase64.")
    try:
        return SwapBody.model_validate(found)
    except ValidationError as error:
        name = ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"]))
        raise ApiError(Answer.INVALID, field=name, reason=f"`{name}` must be a string or null.") from None


def _present(side: _Side, text: str | None, url: str | None) -> str:
    name = f"{side.name}Base64"
    if text and not text.isspace():
        if text[:64].lstrip()[:4].lower() == "http":
            raise ApiError(side.url, field=name, reason=f"`{name}` holds a URL. Put the picture itself there, as base64 or as a data URL.")
        return text
    if url and url.strip():
        name = f"{side.name}Url"
        reason = f"`{name}` is not supported: this server does not fetch pictures. Send the picture in `{side.name}Base64`."
        raise ApiError(side.url, field=name, reason=reason)
    raise ApiError(side.missing, field=name, reason=f"`{name}` is missing or blank. Put the picture there, as base64 or as a data URL.")


def _hook(hook: str | None) -> str | None:
    hook = (hook or "").strip()
    if not hook:
        return None
    try:
        parts = urlsplit(hook)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # empty or overlong labels
    except ValueError:
        good = False
    if not good or len(hook) > _MAX_HOOK or not hook.isprintable() or " " in hook:
        reason = f"`notifyHook` must be an http or https URL with a host, of at most {_MAX_HOOK} characters; leave it out for no callbacks."
        raise ApiError(Answer.INVALID, field="notifyHook", reason=reason)
    return hook


def _check_state(state: str | None, longest: int) -> None:
    if state and len(state) > longest:
        raise ApiError(Answer.INVALID, field="state", reason=f"`state` has {len(state):,} characters; send at most {longest:,}.")
    if state and "\x00" in state:
        raise ApiError(Answer.INVALID, field="state", reason="`state` holds a NUL character. Leave it out.")


def _same() -> ApiError:
    reason = "Source and target are the same picture. Send the face in sourceBase64 and the picture to put it into in targetBase64."
    return ApiError(Answer.SAME_PICTURE, field="targetBase64", reason=reason)


def _picture(side: _Side, text: str, limits: Limits) -> bytes:
    """The picture's file, checked by its header."""
    name = f"{side.name}Base64"
    data = _base64(text)
    if data is None:
        raise ApiError(side.format, field=name, reason=f"`{name}` is not base64. Send base64 or data:image/...;base64,...")
    if len(data) > limits.max_image_bytes:
        reason = f"`{name}` has {len(data):,} bytes; send a picture of at most {limits.max_image_bytes:,}."
        raise ApiError(side.size, field=name, reason=reason)
    try:
        probe(data, max_pixels=limits.max_pixels, min_side=limits.min_side)
    except ImageError as error:
        answer = side.size if error.reason in _TOO_LARGE else side.format
        raise ApiError(answer, field=name, reason=f"`{name}`: {error}") from None
    return data


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
