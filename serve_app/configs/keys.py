"""Holds a document against a pydantic model, strictly: most of Ray's own models leave out what they do not know, without a word."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from ray.runtime_env import RuntimeEnv

from serve_app.configs.finding import Finding, Place, meant

M = TypeVar("M", bound=BaseModel)

_WANTED = "`metrics_interval_s` field in AutoscalingConfig is deprecated"  # and what is to take its place is not read by anything
_SHOWN = 60  # characters of a wrong value
RUNTIME_ENV = {name for name in RuntimeEnv.known_fields if not name.startswith("_")}


def unknown(model: type[BaseModel], given: object, at: Place = ()) -> Iterator[Finding]:
    """Keys that `model` and the models in it do not have, at any depth; models that say extra="allow" are not looked into."""
    if isinstance(given, list):
        for number, item in enumerate(given):
            yield from unknown(model, item, (*at, number))
    if not isinstance(given, dict) or model.model_config.get("extra") == "allow":
        return
    yield from stray(given, model.model_fields, at)
    for name, field in model.model_fields.items():
        if name == "runtime_env" and isinstance(given.get(name), dict):  # a plain dict in Ray's models
            yield from stray(given[name], RUNTIME_ENV, (*at, name))
        for inner in _models(field.annotation):
            yield from unknown(inner, given.get(name), (*at, name))


def stray(given: dict[Any, Any], known: Any, at: Place) -> Iterator[Finding]:
    """Keys of `given` that are not known."""
    for key in given:
        if key not in known:
            yield Finding((*at, key), f"unknown key{meant(key, list(known))}")


def read(model: type[M], given: object, at: Place, found: list[Finding]) -> M | None:
    """`given` as `model`; None where it is not one, and `found` says why. Keys that the model refuses are left to `unknown`."""
    try:
        with warnings.catch_warnings(record=True, action="always") as said:
            model_read = model.model_validate(deepcopy(given))  # some of Ray's validators write into what they are given
        found += [Finding(at, str(one.message), harmless=True) for one in said if _WANTED not in str(one.message)]
        return model_read
    except ValidationError as error:
        found += [Finding((*at, *one["loc"]), _said(one)) for one in error.errors() if one["type"] != "extra_forbidden"]
    except (TypeError, AttributeError, ValueError) as error:  # of a validator that expected another shape
        found.append(Finding(at, f"cannot be read as {model.__name__}: {error}"))
    return None


def _said(error: Any) -> str:
    text, given = str(error["msg"]).removeprefix("Value error, "), error["input"]
    return text if error["type"] == "missing" or isinstance(given, dict | list) else f"{text}, not {str(given)[:_SHOWN]!r}"


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """The models in Optional[Model], List[Model], Union[Dict, Model] and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
