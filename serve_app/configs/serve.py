"""A Serve config file: Ray's schema, strictly, and what this service needs of it."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from ray.serve._private.build_app import build_app
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from serve_app.app import graph
from serve_app.configs import fit
from serve_app.configs.deployment import Deployment
from serve_app.configs.finding import Finding, Place, meant
from serve_app.configs.keys import read, unknown
from serve_app.configs.variables import strange
from serve_app.deployments.access import is_loopback
from serve_app.settings import Settings

OURS = "serve_app.app:build"


def check(document: Any, at: Place = ()) -> list[Finding]:
    """at: where it stands in a larger document."""
    found = [*unknown(ServeDeploySchema, document, at)]
    config = read(ServeDeploySchema, document, at, found)
    if config is None:
        return found
    if not config.applications:
        found.append(Finding((*at, "applications"), "is empty: nothing would be served"))
    for number, application in enumerate(document["applications"]):
        found += _application(application, (*at, "applications", number), config.http_options.host)
    return found


def deployments(application: dict[str, Any], at: Place, found: list[Finding]) -> list[Deployment]:
    """Those that the file names; what is wrong with them goes to `found`."""
    read_ones = []
    for number, given in enumerate(application.get("deployments") or []):
        place = (*at, "deployments", number)
        wished = given.get("autoscaling_config")
        if given.get("num_replicas") == "auto":
            wished = {"max_replicas": 100, **(wished or {})}  # as Ray does it
        scaling = None if wished is None else read(AutoscalingConfig, wished, (*place, "autoscaling_config"), found)
        read_ones.append(Deployment.of(given, place, scaling))
    return read_ones


def _application(given: dict[str, Any], at: Place, host: str) -> list[Finding]:
    found: list[Finding] = []
    if problem := _import_problem(given["import_path"]):
        found.append(Finding((*at, "import_path"), problem))
    listed = deployments(given, at, found)
    for environment, place in [(given, at), *((one.options, (*one.place, "ray_actor_options")) for one in listed)]:
        variables = (environment.get("runtime_env") or {}).get("env_vars") or {}
        found += strange(variables, (*place, "runtime_env", "env_vars"))
    return found if given["import_path"] != OURS else found + _ours(given.get("args") or {}, listed, at, host)


def _ours(args: dict[str, Any], listed: list[Deployment], at: Place, host: str) -> list[Finding]:
    found = [*unknown(Settings, args, (*at, "args"))]
    names = _names()
    for one in listed:
        if one.name not in names:
            found.append(Finding((*one.place, "name"), f"there is no deployment {one.name}{meant(one.name, names)}"))
    settings = read(Settings, args, (*at, "args"), found)
    if settings is None:
        return found
    if not is_loopback(host):
        found += fit.outward(settings, (*at, "args"))
    return [*found, *fit.together(settings, {one.name: one for one in listed}, at)]


def _import_problem(path: str) -> str | None:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        importlib.import_module(module).__getattribute__(name)
    except AttributeError:
        return f"{module} has no {name}{meant(name, dir(importlib.import_module(module)))}"
    except Exception as error:  # whatever a module does when it is imported
        return f"cannot be imported here: {error}"
    return None


@cache
def _names() -> frozenset[str]:
    """The deployments of the graph."""
    return frozenset(deployment.name for deployment in build_app(graph(Settings()), name="check").deployments)
