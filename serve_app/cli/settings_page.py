"""docs/settings.md, which `faceswap settings` prints."""

from __future__ import annotations

from pydantic import BaseModel

from serve_app.secrets import Secrets
from serve_app.settings import Group, Settings, live_in


def settings_page() -> str:
    """docs/settings.md: every setting and its default, from the models."""
    lines = [
        "# Settings",
        "",
        "The `args` of the application in a Serve config file such as config/local.yaml. Unknown names are refused.",
        "This page is what `faceswap settings` prints.",
        "",
        "Live: `user_config` of these deployments may change it while the service runs; it is written as `args` are and stands above them.",
        "All others take effect when the replicas are replaced. docs/upgrade.md says how either is done.",
        "",
        "| setting | default | live | meaning |",
        "|---|---|---|---|",
        *_rows(Settings, ""),
        "",
        "From the environment:",
        "",
        "| variable | meaning |",
        "|---|---|",
        *(f"| `FACESWAP_{name.upper()}` | {field.description} |" for name, field in Secrets.model_fields.items()),
    ]
    return "\n".join(lines) + "\n"


def _rows(group: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in group.model_fields.items():
        if isinstance(field.default, Group):
            rows += _rows(type(field.default), f"{prefix}{name}.")
        else:
            rows.append(f"| `{prefix}{name}` | `{field.default}` | {', '.join(live_in(field))} | {field.description} |")
    return rows
