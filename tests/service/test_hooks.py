"""Callbacks of the real service: every state in its order. test_restart.py: signed, and told after a death too."""

from __future__ import annotations

from tests.pictures import ASTRONAUT, HANKS
from tests.service.client import Client
from tests.service.hook import listening

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
