"""A file of Ray's cluster launcher (`ray up cluster.yaml`)."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import ray.autoscaler
from jsonschema import Draft7Validator, ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from serve_app.configs.finding import Finding, Place, meant
from serve_app.configs.ports import CLIENTS, PRIVILEGED, inner, named
from serve_app.configs.variables import strange

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYBODY = ("0.0.0.0/0", "::/0")
TCP = ("tcp", "6", "-1")  # the last is all protocols; of Ray's ports none is another's


def check(document: Any) -> list[Finding]:
    found = [one for error in _schema().iter_errors(document) for one in _said(error)]
    if found:
        return found
    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)
    try:
        validate_config(prepare_config(deepcopy(document)))
    except Exception as error:  # of many kinds
        found.append(Finding((), str(error)))
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for number, command in enumerate(document.get(key) or []):
            found += _start(command, (key, number))
    found += _opened(document["provider"].get("security_group") or {}, ("provider", "security_group", "IpPermissions"))
    for key, options in (document.get("docker") or {}).items():
        if key.endswith("run_options"):
            found += strange(_variables(options), ("docker", key))
    return found


def _schema() -> Draft7Validator:
    return Draft7Validator(json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text()))


def _said(error: ValidationError) -> Iterator[Finding]:
    at = tuple(error.absolute_path)
    if error.validator != "additionalProperties":
        yield Finding(at, error.message)
        return
    schema: Any = error.schema
    instance: Any = error.instance
    known = schema.get("properties", {})
    for key in instance:
        if key not in known:
            yield Finding((*at, key), f"unknown key{meant(key, known)}")


def _start(command: str, at: Place) -> Iterator[Finding]:
    """Of one line that may start Ray."""
    words = shlex.split(command)
    if "start" not in words or words[words.index("start") - 1] != "ray":
        return
    variables = _assigned(words)
    yield from strange(variables, at)
    if variables.get("RAY_AUTH_MODE") != "token":
        text = "starts Ray without RAY_AUTH_MODE=token: unless the image sets it, whoever reaches a port of Ray's runs code"
        yield Finding(at, text, harmless=True)
    host = _option(words, "--dashboard-host")
    if host is not None and host not in LOOPBACK:
        text = f"opens the dashboard on {host}: {named({8265})}; leave it on 127.0.0.1 and use `ray dashboard cluster.yaml`"
        yield Finding(at, text, harmless=True)


def _option(words: list[str], name: str) -> str | None:
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _opened(group: dict[str, Any], at: Place) -> Iterator[Finding]:
    """Of an AWS security group."""
    for number, rule in enumerate(group.get("IpPermissions") or []):
        first, last = rule.get("FromPort", 0), rule.get("ToPort", 65535)
        protocol = str(rule.get("IpProtocol"))
        if protocol not in TCP:
            continue
        ports = range(first, last + 1) if protocol != "-1" and first >= 0 else range(65536)
        sources = [one.get("CidrIp") for one in rule.get("IpRanges") or []] + [one.get("CidrIpv6") for one in rule.get("Ipv6Ranges") or []]
        if set(sources) & set(EVERYBODY) and (open_ones := inner(ports)):
            text = f"of the ports above {PRIVILEGED} only {CLIENTS} is for clients: Ray's workers take any, and unpickle what they receive"
            which = named(ports) or " to ".join(str(port) for port in sorted({open_ones[0], open_ones[-1]}))
            yield Finding((*at, number), f"opens to everybody: {which}; {text}")


def _variables(options: list[str]) -> dict[str, str]:
    """Of `-e NAME=value`, each option a text of its own or of several words."""
    words = [word for option in options for word in shlex.split(option)]
    return _assigned([value for flag, value in pairwise(words) if flag in ("-e", "--env")])


def _assigned(words: list[str]) -> dict[str, str]:
    return {name: value for name, equals, value in (word.partition("=") for word in words) if equals and name.isidentifier()}
