"""Variables of the environment that a file sets for the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from serve_app.configs.finding import Finding, Place, meant
from serve_app.deployments.environment import BINARY
from serve_app.secrets import Secrets

PREFIX = "FACESWAP_"
HAPROXY = (
    f"needs {BINARY} beside it, the command faceswap-haproxy: without that, its pages list every replica to everybody, "
    "and limits per address see HAProxy alone. docs/operations.md has all that belong to it"
)
KNOWN = frozenset(f"{PREFIX}{name.upper()}" for name in Secrets.model_fields)


def strange(variables: Mapping[str, object], at: Place) -> Iterator[Finding]:
    """Those that begin as ours do and are none, for nobody would read them; and HAProxy as Ray has it."""
    for name, value in variables.items():
        if name.startswith(PREFIX) and name not in KNOWN:
            yield Finding((*at, name), f"there is no such variable{meant(name, KNOWN)}")
        if name == "RAY_SERVE_ENABLE_HA_PROXY" and str(value) == "1" and BINARY not in variables:
            yield Finding((*at, name), HAPROXY, harmless=True)
