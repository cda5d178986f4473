"""Variables of the environment that a file sets for the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from serve_app.configs.finding import Finding, Place, meant
from serve_app.secrets import Secrets

PREFIX = "FACESWAP_"
HAPROXY = (
    "takes what this service has inside of Ray's proxy away: the second try when an Ingress dies, the guard before Ray's headers, "
    "and fair uploads. docs/operations.md says what it brings"
)
KNOWN = frozenset(f"{PREFIX}{name.upper()}" for name in Secrets.model_fields)


def strange(variables: Mapping[str, object], at: Place) -> Iterator[Finding]:
    """Those that begin as ours do and are none, for nobody would read them; and one of Ray's that takes something away."""
    for name, value in variables.items():
        if name.startswith(PREFIX) and name not in KNOWN:
            yield Finding((*at, name), f"there is no such variable{meant(name, KNOWN)}")
        if name == "RAY_SERVE_ENABLE_HA_PROXY" and str(value) == "1":
            yield Finding((*at, name), HAPROXY, harmless=True)
