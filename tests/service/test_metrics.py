"""Debian's Prometheus beside the running service: what is declared is there, and every panel and alert has its data."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from serve_app.metrics import LABELS, METRICS
from tests.monitoring.prometheus import Prometheus, needs_prometheus, until, watching
from tests.monitoring.queries import alerts, panels, selectors
from tests.pictures import ASTRONAUT, GREY, HANKS
from tests.service.client import Client
from tests.service.conftest import Cluster
from tests.service.hook import Hook, listening

RARE = {"faceswap_tasks_taken_back", "faceswap_batches_failed"}  # nothing of the kind happens here
OURS = '{__name__=~"ray_faceswap_.*"}'


def work(client: Client, hook: Hook) -> str:
    """Two swaps, a failure, a refusal, and a hook that hears of the first; its task."""
    task = client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes(), notifyHook=hook.url)
    client.swap(HANKS.read_bytes(), ASTRONAUT.read_bytes())
    assert client.finished(client.submit(HANKS.read_bytes(), GREY))["status"] == "FAILURE"
    assert client.request("POST", "/mj/insight-face/swap", json={}).json()["code"] == 4
    hook.wait_for_end(task)
    return task


@needs_prometheus
@pytest.mark.timeout(180)
def test_every_panel_and_alert_has_its_data(client: Client, ray_cluster: Cluster, tmp_path: Path) -> None:
    with watching(tmp_path, ray_cluster.metrics_port) as prometheus, listening() as hook:
        work(client, hook)  # counters come into being with their first event, and Prometheus sees what they grow by from then on
        common = {series for metric in METRICS if metric.name not in RARE for series in metric.series}
        until(lambda: common <= {labels["__name__"] for labels in prometheus.get("series", **{"match[]": OURS})})
        settled = _settled(prometheus)
        task = work(client, hook)
        until(lambda: _counts(prometheus) == [count + more for count, more in zip(settled, (3, 2, 1, 1, 3), strict=True)])
        _labels_are_bounded(prometheus, task)
        asked = {expression.replace("$__rate_interval", "1m") for _, expression in panels()}
        for alert in alerts():  # which ask for what does not happen here, of series that are there
            for name, labels in selectors(alert["expr"]):
                present = ", ".join(f'{label}!=""' for label in sorted(labels))
                asked.add(f"count({name}{{{present}}})")

        def answered() -> bool:
            client.fetch(task)  # Serve sets some gauges only while there are requests
            asked.difference_update([query for query in asked if prometheus.ask(query)])
            return not asked

        try:
            until(answered)
        except AssertionError:
            pytest.fail(f"no answer to {sorted(asked)}")
        assert _rules(prometheus).keys() == {alert["alert"] for alert in alerts()}
        try:  # a collection that takes longer than this test's second has FaceswapDown pending until the next
            until(lambda: set(_rules(prometheus).values()) == {("ok", "inactive")})
        except AssertionError:
            pytest.fail(f"not at rest: {_rules(prometheus)}")


def _rules(prometheus: Prometheus) -> dict[str, tuple[str, str]]:
    """Health and state of each alert."""
    return {rule["name"]: (rule["health"], rule["state"]) for group in prometheus.get("rules")["groups"] for rule in group["rules"]}


def _counts(prometheus: Prometheus) -> list[float]:
    """Accepted, succeeded, failed for their picture, refused for a missing picture, delivered."""
    return [
        prometheus.number(f"sum({query})")
        for query in (
            "ray_faceswap_tasks_accepted_total",
            'ray_faceswap_tasks_ended_total{status="SUCCESS", reason=""}',
            'ray_faceswap_tasks_ended_total{status="FAILURE", reason="picture"}',
            'ray_faceswap_refusals_total{answer="source_missing", code="4"}',
            'ray_faceswap_hook_calls_total{outcome="delivered"}',
        )
    ]


def _settled(prometheus: Prometheus) -> list[float]:
    """The counts once all that has happened is in them: processes hand on theirs every 3 s, then Prometheus collects them."""
    now = time.time()
    until(lambda: prometheus.number("max(timestamp(ray_faceswap_unfinished_tasks))") > now + 5)
    return _counts(prometheus)


def _labels_are_bounded(prometheus: Prometheus, task: str) -> None:
    found = prometheus.get("series", **{"match[]": OURS})
    declared = {series: metric for metric in METRICS for series in metric.series}
    for labels in found:
        assert set(declared[labels["__name__"]].labels) <= labels.keys() | {"reason"}, labels  # an empty label is none
        assert task not in str(labels)
    stages = {labels["stage"] for labels in found if "stage" in labels}
    assert stages == set(re.findall("`([a-z]+)`", LABELS["stage"]))
    engines = {(labels["model"], labels["family"]) for labels in found if labels["__name__"] == "ray_faceswap_engine_info"}
    assert engines == {(model, "builtin") for model in ("detect", "identify", "swap")}
