"""JSON as clients in typed languages read it: by Go's rules, and nothing is made to fit.

A member that is not asked for is ignored, and one that is missing or null is the type's zero value; anything else of another type is an
error for the whole answer. Names match without regard to case.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

Decoder: TypeAlias = Callable[[Any, str], Any]


class Mismatch(ValueError):
    """An answer that such a client cannot read: the whole of it is lost."""


def decode(data: bytes, decoder: Decoder) -> Any:
    return decoder(json.loads(data.decode("utf-8", "strict"), parse_constant=_no_json), "answer")


def anything(value: Any, where: str) -> Any:
    return value


def string(value: Any, where: str) -> str:
    if value is None:
        return ""
    if type(value) is not str:
        raise Mismatch(f"{where}: {value!r} is no string")
    return value


def int64(value: Any, where: str) -> int:
    if value is None:
        return 0
    if type(value) is not int or not -(2**63) <= value < 2**63:  # 1.0 and 1e3 are floats, true is no number
        raise Mismatch(f"{where}: {value!r} is no int64")
    return value


def struct(**members: Decoder) -> Decoder:
    """An object; the zero struct for null."""

    def read(value: Any, where: str) -> dict[str, Any]:
        if value is not None and type(value) is not dict:
            raise Mismatch(f"{where}: {value!r} is no object")
        given = {name.lower(): member for name, member in (value or {}).items()}
        return {name: member(given.get(name.lower()), f"{where}.{name}") for name, member in members.items()}

    return read


def pointer(decoder: Decoder) -> Decoder:
    """None for null."""
    return lambda value, where: None if value is None else decoder(value, where)


def array(decoder: Decoder) -> Decoder:
    def read(value: Any, where: str) -> list[Any]:
        if value is not None and type(value) is not list:
            raise Mismatch(f"{where}: {value!r} is no array")
        return [decoder(item, f"{where}[{index}]") for index, item in enumerate(value or [])]

    return read


def _no_json(constant: str) -> Any:
    raise Mismatch(f"{constant} is not JSON")


# What new-api and its forks decode: the answer to a submit, and a task.
SUBMITTED = struct(code=int64, description=string, properties=anything, result=string)
RELAYED_TASK = struct(
    id=string,
    action=string,
    customId=string,
    botType=string,
    prompt=string,
    promptEn=string,
    description=string,
    state=string,
    submitTime=int64,
    startTime=int64,
    finishTime=int64,
    imageUrl=string,
    videoUrl=string,
    videoUrls=array(struct(url=string)),
    status=string,
    progress=string,
    failReason=string,
    buttons=anything,
    maskBase64=string,
    properties=pointer(struct(finalPrompt=string, finalZhPrompt=string)),
)
