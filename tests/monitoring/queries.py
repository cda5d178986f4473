"""What config/monitoring asks Prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent.parent.parent / "config" / "monitoring"
_NAME = re.compile(r"\b(?:ray_[a-z0-9_]+|up)\b")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]


def panels() -> list[tuple[str, str]]:
    """Title and expression of each query of the dashboard."""
    board = json.loads((FOLDER / "dashboard.json").read_text())
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]


def queries() -> list[str]:
    return [expression for _, expression in panels()] + [alert["expr"] for alert in alerts()]


def names(query: str) -> set[str]:
    """The series that it reads."""
    return set(_NAME.findall(query))


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """Each series and the labels that it is asked by."""
    found = []
    for match in _NAME.finditer(query):
        braces = re.match(r"\{([^}]*)\}", query[match.end() :])
        asked = {label for label, _ in re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"', braces[1])} if braces else set()
        found.append((match[0], asked))
    return found


def grouped(query: str) -> set[str]:
    """The labels that its results have."""
    return {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")}
