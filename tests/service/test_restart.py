"""Every process killed at once, and the same command again: what was accepted is finished."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from benchmarks.service import free_port, serving
from serve_app.vision.image import decode
from tests.pictures import ASTRONAUT, SIX_PEOPLE, jpeg, read
from tests.service.client import Client
from tests.service.processes import child_of, kill_all, members, named, replica

ROOT = Path(__file__).resolve().parent.parent.parent
TASKS = 24


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """config/local.yaml with leases that run out sooner: nobody is left to give them back."""
    config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    config["applications"][0]["args"] |= {"pipeline": {"lease_s": 5, "renew_s": 1}}
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def test_what_was_accepted_is_finished_after_everything_was_killed(config: Path, tmp_path: Path, builtin_weights: Path) -> None:
    """SQLite, a folder and the built-in models, as `make serve` runs them."""
    data, port = tmp_path / "data", free_port()
    data.mkdir()
    source, target = ASTRONAUT.read_bytes(), jpeg(read(SIX_PEOPLE))
    options = ("--config", str(config), "--family", "builtin")
    with serving(*options, environment={"FACESWAP_SECRET": ""}, data=data, port=port) as service:
        client = Client(service.base)
        tasks = [client.submit(source, target) for _ in range(TASKS // 4)]
        session = child_of(service.process.pid)
        for pipeline in named(session, replica("SwapPipeline")):  # wherever it stands with these, it takes no more
            os.kill(pipeline, signal.SIGSTOP)
        tasks += [client.submit(source, target) for _ in range(TASKS - len(tasks))]
        kill_all(service.process.pid)
        assert members(session) == []
    with closing(sqlite3.connect(data / "tasks.db")) as connection:
        (waiting,) = connection.execute("select count(*) from tasks where finish_time is null and lease_until is null").fetchone()
    assert waiting >= TASKS / 2
    with serving(*options, environment={"FACESWAP_SECRET": ""}, data=data, port=port) as service:
        pictures = [client.picture(client.finished(task)) for task in tasks]
    assert {decode(picture).bgr.shape for picture in pictures} == {read(SIX_PEOPLE).shape}
