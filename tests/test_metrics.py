"""What is declared is recorded, documented and looked at, and what is looked at exists. tests/service/test_metrics.py asks a service."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app import metrics
from serve_app.api.errors import Answer
from serve_app.cli import app
from serve_app.metrics import LABELS, METRICS, RAYS, Metric
from serve_app.tasks.reasons import Cause
from serve_app.tasks.task import Status
from tests.monitoring.queries import alerts, grouped, names, queries, selectors

ROOT = Path(__file__).resolve().parent.parent
OF_SERIES = {series: metric for metric in METRICS for series in metric.series}
RAYS_LABELS = {"deployment", "application", "instance", "job", "le", "method", "route", "status_code"}


def test_the_page_is_what_the_code_says() -> None:
    shown = CliRunner().invoke(app, ["metrics"])
    assert shown.exit_code == 0
    assert shown.stdout == (ROOT / "docs" / "metrics.md").read_text()


def test_no_label_is_personal_or_without_bounds() -> None:
    assert {label for metric in METRICS for label in metric.labels} == LABELS.keys()
    assert not LABELS.keys() & {"key", "owner", "task", "id", "host", "address", "user", "error", "state_text"}
    for values in (Cause, ["waiting", "working", "pending", "dead"], [Status.SUCCESS, Status.FAILURE]):
        for value in values:
            assert any(f"`{value}`" in text for text in LABELS.values()), value
    assert len(Answer) < 100


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_are_those_of_prometheus_and_histograms_have_buckets(metric: Metric) -> None:
    assert re.fullmatch(r"faceswap(_[a-z]+)+", metric.name)
    assert metric.unit != "seconds" or metric.name.endswith("_seconds")
    assert (metric.kind == "histogram") == bool(metric.bounds)
    assert list(metric.bounds) == sorted(set(metric.bounds))


def test_every_metric_is_recorded_with_its_own_labels() -> None:
    constants = {name: value for name, value in vars(metrics).items() if isinstance(value, Metric)}
    seen: dict[str, set[str]] = {}
    for path in (ROOT / "serve_app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Name) and node.args[0].id in constants:
                name, labels = node.args[0].id, {keyword.arg or "" for keyword in node.keywords}
                assert labels == set(constants[name].labels), (path, node.lineno)
                seen.setdefault(name, set()).update(labels)
    assert seen.keys() == constants.keys()


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_what_exists(query: str) -> None:
    found = names(query)
    assert found
    for name in found:
        assert name in OF_SERIES or name in RAYS, name
    known = {name: set(OF_SERIES[name].labels) if name in OF_SERIES else set() for name in found}
    for name, labels in selectors(query):
        assert labels <= known[name] | RAYS_LABELS, name
    assert grouped(query) <= set().union(*known.values()) | RAYS_LABELS


def test_what_exists_is_looked_at() -> None:
    asked = {name for query in queries() for name in names(query)}
    for metric in METRICS:
        assert metric.raw != bool(asked & set(metric.series)), metric.name
    assert RAYS.keys() <= asked


def test_every_alert_is_explained() -> None:
    rows = re.findall(r"^\| `(Faceswap\w+)` \|", (ROOT / "docs" / "monitoring.md").read_text(), re.M)
    assert rows == [alert["alert"] for alert in alerts()]
