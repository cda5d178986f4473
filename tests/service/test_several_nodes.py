"""`make nodes`, in its short form: a cluster whose nodes are network namespaces; a worker is killed under load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

SEED = 5


def test_a_killed_node_loses_nothing(record_property: Callable[[str, object], None]) -> None:
    command = [sys.executable, "-m", "tests.nodes", "--seconds", "1", "--seed", str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    record_property("figures", done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "every promise was kept" in done.stdout
