"""One trace of a swap: from the request through the batches to the callback, and the client's own before it."""

from __future__ import annotations

import re
import secrets

from tests.pictures import ASTRONAUT, HANKS, data_url
from tests.service.client import Client
from tests.service.collector import Collector, Span
from tests.service.hook import Call, listening

STAGES = {"read", "admission", "decode", "detect", "cut", "identify", "swap", "paste", "encode", "write"}
RAYS = {"replica_handle_request Ingress __call__", "route_to_replica FaceDetector detect", "route_to_replica FaceSwapper swap"}
BATCHES = {"batch detect", "batch identify", "batch swap"}


def traceparent(sampled: bool = True) -> tuple[str, str, str]:
    """Trace, span, and the header that names both."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, f"00-{trace}-{span}-{int(sampled):02x}"


def submitted(client: Client, hook: str, header: str) -> str:
    body = {"sourceBase64": data_url(HANKS.read_bytes()), "targetBase64": data_url(ASTRONAUT.read_bytes()), "notifyHook": hook}
    return str(client.request("POST", "/mj/insight-face/swap", json=body, headers={"traceparent": header}).json()["result"])


def test_a_swap_is_one_trace(client: Client, collector: Collector) -> None:
    trace, span, header = traceparent()
    with listening() as hook:
        task = submitted(client, hook.url, header)
        told = hook.wait_for_end(task)
        calls = list(hook.calls)
    assert told[-1]["status"] == "SUCCESS"
    spans = collector.wait_for(trace, ["submit", "swap", *["callback"] * len(told), *STAGES, *BATCHES, *RAYS])
    by_id = {each.id: each for each in spans}

    def line(each: Span) -> list[str]:
        """Its name and those of the spans that it is in, up to the client's."""
        names = [each.name]
        while each.parent != span:
            each = by_id[each.parent]
            names.append(each.name)
        return names

    (submit,) = (each for each in spans if each.name == "submit")
    assert line(submit)[1] == "replica_handle_request Ingress __call__"
    (whole,) = (each for each in spans if each.name == "swap" and each.attributes.get("task") == task)
    assert by_id[whole.parent] == submit, "in another process, and a child all the same"
    for each in spans:
        if each.name in BATCHES:
            assert any(name.startswith("replica_handle_request Face") for name in line(each))
            assert "swap" in line(each)
            assert each.attributes["size"] >= 1
            assert whole.start <= each.start <= each.end <= whole.end
        elif each.name in STAGES and each is not whole:
            assert line(each)[1] == "swap"
    callbacks = [each for each in spans if each.name == "callback"]
    assert {each.parent for each in callbacks} == {submit.id}
    assert {each.attributes["status"] for each in callbacks} >= {"SUCCESS"}
    sent = {call.headers["traceparent"] for call in calls}
    assert sent <= {f"00-{trace}-{each.id}-01" for each in spans}, "each call names its own span"
    assert len(sent) == len(calls)
    assert not any(each.failed for each in spans)
    assert not any(word in str(spans) for word in (client.secret or "", hook.url, "base64"))


def test_a_trace_that_is_not_sampled_leaves_no_span_and_is_handed_on(client: Client, collector: Collector) -> None:
    trace, _, header = traceparent(sampled=False)
    with listening() as hook:
        hook.wait_for_end(submitted(client, hook.url, header))
        calls: list[Call] = list(hook.calls)
    assert all(re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-00", call.headers["traceparent"]) for call in calls)
    assert collector.trace(trace) == []
    with listening() as hook:
        hook.wait_for_end(client.submit(HANKS.read_bytes(), ASTRONAUT.read_bytes(), notifyHook=hook.url))
        assert not any("traceparent" in call.headers for call in hook.calls)
