"""SIGTERM, as a service manager sends it: what is nearly done is finished, the rest waits for the next start, and it does not take long."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import yaml

from benchmarks.service import serving
from tests.pictures import ASTRONAUT, HANKS
from tests.service.client import Client
from tests.service.conftest import ROOT
from tests.service.processes import child_of, members

TASKS = 12
BATCH_S = 1.5  # four of them a task, one after the other on each of the models
MOST_S = 40.0


def test_sigterm_ends_what_it_can_and_gives_back_the_rest(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    fake = {"family": "fake", "fake": {"seconds_per_item": BATCH_S}, "pipeline": {"drain_s": 2 * BATCH_S}}
    config["applications"][0]["args"] |= fake
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    with serving("--config", str(file), environment={"FACESWAP_SECRET": ""}, data=tmp_path) as service:
        client, session = Client(service.base), child_of(service.process.pid)
        tasks = [client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes()) for _ in range(TASKS)]
        client.finished(tasks[0])
        began = time.monotonic()
        os.kill(service.process.pid, signal.SIGTERM)
        assert service.process.wait(MOST_S) == 0
        assert time.monotonic() - began < MOST_S
    assert members(session) == []
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
        rows = connection.execute("select id, status, attempt, lease_until from tasks order by id").fetchall()
    assert [row[0] for row in rows] == tasks, "nothing that was accepted is gone"
    assert {row[3] for row in rows} == {None}, "nobody has to wait for a lease to run out"
    ended, waiting = [row for row in rows if row[1] == "SUCCESS"], [row for row in rows if row[1] != "SUCCESS"]
    assert {row[2] for row in ended} == {1}
    assert {row[2] for row in waiting} == {0}, "a stop is no attempt"
    assert waiting, "a stop does not wait for all of them"


def test_sigusr1_has_the_config_file_read_again(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    file = tmp_path / "serve.yaml"

    def write(max_state: object) -> None:
        ingress = next(one for one in config["applications"][0]["deployments"] if one["name"] == "Ingress")
        ingress["user_config"] = {"limits": {"max_state": max_state}}
        file.write_text(yaml.safe_dump(config))

    write(9)
    with serving("--config", str(file), "--family", "fake", environment={"FACESWAP_SECRET": ""}, data=tmp_path) as service:
        client = Client(service.base)
        assert client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes(), state="four")
        for max_state, said, taken in (
            (3, "the config file holds", False),
            ("many", "is not taken: ", False),
            (4, "the config file holds", True),
        ):
            write(max_state)
            seen = service.log.read_text().count(said)
            os.kill(service.process.pid, signal.SIGUSR1)
            while service.log.read_text().count(said) == seen:
                time.sleep(0.05)
            body = {"sourceBase64": "x", "targetBase64": "x", "state": "four"}
            answer = client.request("POST", "/mj/insight-face/swap", json=body).json()
            assert (answer["properties"]["field"] != "state") is taken, answer
