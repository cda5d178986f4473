"""Every process killed at once, and the same command again: what was accepted is finished, and what a hook is owed it hears."""

from __future__ import annotations

import os
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from standardwebhooks import Webhook

from benchmarks.service import Service, free_port, serving
from serve_app.tasks.hook_secret import new_secret
from serve_app.vision.image import decode
from tests.pictures import ASTRONAUT, SIX_PEOPLE, jpeg, read
from tests.service.client import Client
from tests.service.hook import Hook, listening
from tests.service.processes import child_of, kill_all, members, named, replica

ROOT = Path(__file__).resolve().parent.parent.parent
TASKS = 24
SOURCE, TARGET = ASTRONAUT.read_bytes(), jpeg(read(SIX_PEOPLE))


@dataclass
class Restarted:
    """service: there again. waited: so many tasks had not been begun. tasks: all that had not ended.

    ended: a task that ended before, of whose end its hook, that answered everything with 503, had been told so often.
    """

    service: Service
    waited: int
    tasks: list[str]
    ended: dict[str, Any]
    told: int
    hook: Hook
    secret: str

    @property
    def client(self) -> Client:
        return Client(self.service.base)


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory, builtin_weights: Path) -> Iterator[Restarted]:
    """SQLite, a folder and the built-in models, as `make serve` runs them. Leases run out sooner: nobody is left to give them back."""
    data, port, secret, deaf = tmp_path_factory.mktemp("restarted"), free_port(), new_secret(), True
    config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    config["applications"][0]["args"] |= {"pipeline": {"lease_s": 5, "renew_s": 1}}
    (data / "serve.yaml").write_text(yaml.safe_dump(config))
    options = ("--config", str(data / "serve.yaml"), "--family", "builtin")
    environment = {"FACESWAP_SECRET": "", "FACESWAP_HOOK_SECRET": secret}
    with listening(lambda _: 503 if deaf else 200) as hook:
        with serving(*options, environment=environment, data=data, port=port) as service:
            client = Client(service.base)
            ended = client.finished(client.submit(SOURCE, TARGET, notifyHook=hook.url))
            tasks = [client.submit(SOURCE, TARGET) for _ in range(TASKS // 4)]
            session = child_of(service.process.pid)
            for pipeline in named(session, replica("SwapPipeline")):  # wherever it stands with these, it takes no more
                os.kill(pipeline, signal.SIGSTOP)
            tasks += [client.submit(SOURCE, TARGET) for _ in range(TASKS - len(tasks))]
            kill_all(service.process.pid)
            assert members(session) == []
        with closing(sqlite3.connect(data / "tasks.db")) as connection:
            (waited,) = connection.execute("select count(*) from tasks where finish_time is null and lease_until is null").fetchone()
        told = ends(hook, ended["id"])
        deaf = False
        with serving(*options, environment=environment, data=data, port=port) as again:
            yield Restarted(again, waited, tasks, ended, told, hook, secret)


def ends(hook: Hook, task: str) -> int:
    """How often the hook was told of the task's success."""
    return sum(state["status"] == "SUCCESS" for state in hook.told(task))


def test_what_was_accepted_is_finished(restarted: Restarted) -> None:
    assert restarted.waited >= TASKS / 2
    pictures = [restarted.client.picture(restarted.client.finished(task)) for task in restarted.tasks]
    assert len(pictures) == TASKS
    assert {decode(picture).bgr.shape for picture in pictures} == {read(SIX_PEOPLE).shape}


def test_what_had_ended_is_as_it_was_and_its_hook_hears_of_it(restarted: Restarted) -> None:
    id = restarted.ended["id"]
    told = restarted.hook.wait_for_end(id, times=restarted.told + 1)[-1]
    assert told == restarted.ended == restarted.client.fetch(id)
    assert told["status"] == "SUCCESS"
    (call, *_) = [call for call in reversed(restarted.hook.calls) if call.headers["webhook-id"].startswith(id)]
    assert call.headers["webhook-id"] == f"{id}-SUCCESS"
    assert Webhook(restarted.secret).verify(call.body, dict(call.headers)) == told


def test_a_service_whose_work_is_killed_leaves_no_process_and_no_folder(restarted: Restarted) -> None:
    """The last one, for there is nothing left of it. Its parent, which is not killed, sweeps."""
    service = restarted.service
    session = child_of(service.process.pid)
    os.kill(session, signal.SIGKILL)
    assert service.process.wait(60) != 0
    assert members(session) == []
    assert list(Path(tempfile.gettempdir()).glob(f"faceswap-{service.process.pid}-*")) == []
