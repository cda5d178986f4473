"""config/monitoring/alerts.yml by Prometheus' own tool: each alert fires when it should, and none of a service that works."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.monitoring.prometheus import needs_prometheus
from tests.monitoring.queries import FOLDER


def promtool(*arguments: object) -> str:
    result = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    return said


@needs_prometheus
def test_the_shipped_files_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "config", FOLDER / "prometheus.yml")


@needs_prometheus
def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    for file in (FOLDER / "alerts.yml", Path(__file__).with_name("alerts_test.yml")):
        shutil.copy(file, tmp_path)
    promtool("test", "rules", tmp_path / "alerts_test.yml")
