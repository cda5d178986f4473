"""Callbacks of the real service: every state in its order, signed, and told after a death too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

from benchmarks.service import serving
from serve_app.tasks.hook_secret import new_secret
from tests.pictures import ASTRONAUT, HANKS
from tests.service.client import Client
from tests.service.hook import listening
from tests.service.processes import kill_all

ALL = ["SUBMITTED", "IN_PROGRESS", "SUCCESS"]


def test_a_well_behaved_hook_hears_every_state_in_order(client: Client) -> None:
    with listening() as hook:
        tasks = [client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes(), notifyHook=hook.url, state=f"room {n}:脸") for n in range(4)]
        for n, task in enumerate(tasks):
            told = hook.wait_for_end(task)
            assert [state["status"] for state in told] == ALL
            assert [state["progress"] for state in told][-1] == "100%"
            assert {state["state"] for state in told} == {f"room {n}:脸"}
            assert told[-1] == client.fetch(task)
        ids = {call.headers["webhook-id"] for call in hook.calls}
        assert ids == {f"{task}-{status}" for task in tasks for status in ALL}
        assert len(hook.calls) == len(ids), "each once"


def test_what_dies_between_an_end_and_its_hook_tells_it_after_the_restart(tmp_path: Path) -> None:
    deaf, secret = True, new_secret()

    def answer(_state: dict[str, Any]) -> int:
        return 503 if deaf else 200

    environment = {"FACESWAP_SECRET": "", "FACESWAP_HOOK_SECRET": secret}
    with listening(answer) as hook:
        with serving("--family", "fake", environment=environment, data=tmp_path) as service:
            client = Client(service.base)
            task = client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes(), notifyHook=hook.url)
            assert client.finished(task)["status"] == "SUCCESS"
            kill_all(service.process.pid)
        before = hook.told(task)
        ends = sum(state["status"] == "SUCCESS" for state in before)
        deaf = False
        with serving("--family", "fake", environment=environment, data=tmp_path) as service:
            told = hook.wait_for_end(task, times=ends + 1)[len(before) :]
            assert told[-1]["status"] == "SUCCESS"
            assert told[-1] == Client(service.base).fetch(task)
        last = hook.calls[-1]
        assert last.headers["webhook-id"] == f"{task}-SUCCESS"
        assert Webhook(secret).verify(last.body, dict(last.headers)) == told[-1]
