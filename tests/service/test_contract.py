"""The published requests of the contract, and what goes wrong, against the running service."""

from __future__ import annotations

import http.client
import json

import numpy as np
import pytest

from serve_app.vision.image import decode
from tests.pictures import ASTRONAUT, HANKS, data_url, head, jpeg, png
from tests.service.client import Client
from tests.service.hook import listening


@pytest.mark.parametrize("header", ["mj-api-secret", "Authorization", "Bearer"])
@pytest.mark.parametrize("instance", ["61", "string"])
def test_the_published_request_is_accepted_and_its_hook_hears_the_end(client: Client, header: str, instance: str) -> None:
    secret = client.secret or ""
    headers = {"Authorization": f"Bearer {secret}"} if header == "Bearer" else {header: secret}
    target = jpeg(head(0))
    with listening() as hook:
        body = {
            "sourceBase64": data_url(ASTRONAUT.read_bytes()),
            "targetBase64": data_url(target, "image/jpeg"),
            "accountFilter": {"instanceId": instance},
            "notifyHook": hook.url,
            "state": "fugiat",
        }
        answer = Client(client.base).request("POST", "/mj/insight-face/swap", json=body, headers=headers)
        assert answer.status_code == 200
        said = answer.json()
        assert type(said["code"]) is int
        assert said["code"] == 1
        assert isinstance(said["description"], str)
        assert said["description"]
        assert isinstance(said["result"], str)
        assert len(said["result"]) == 16
        assert said["result"].isdigit()
        heard = hook.wait_for_end(said["result"])
    ranks = [["SUBMITTED", "IN_PROGRESS", "SUCCESS"].index(state["status"]) for state in heard]
    assert ranks == sorted(ranks), "states went backwards"
    assert ranks[0] == 0, "the hook was not told that the task was taken"
    end = heard[-1]
    assert end["status"] == "SUCCESS"
    assert end["progress"] == "100%"
    assert end["state"] == "fugiat"
    assert end["properties"]["discordInstanceId"] == instance
    assert end == client.fetch(said["result"])
    assert decode(client.picture(end)).bgr.shape == decode(target).bgr.shape


def test_states_come_in_order_and_times_make_sense(client: Client) -> None:
    task = client.submit(HANKS.read_bytes(), png(head(1)))
    state = client.finished(task)
    assert state["submitTime"] <= state["startTime"] <= state["finishTime"]
    assert state["action"] == "SWAP_FACE"
    assert state["buttons"] == []
    assert state["failReason"] is None
    stages = state["properties"]["stages"]
    assert {"queue", "read", "decode", "detect", "identify", "swap", "paste", "encode", "write"} <= stages.keys()


@pytest.mark.parametrize("prefix", ["", "/mj-fast", "/mj-relax", "/mj-turbo"])
def test_every_mode_prefix_swaps_and_sees_the_same_task(client: Client, prefix: str) -> None:
    body = {"sourceBase64": data_url(HANKS.read_bytes()), "targetBase64": data_url(png(head(2)))}
    task = client.request("POST", f"{prefix}/mj/insight-face/swap", json=body).json()["result"]
    state = client.finished(task)
    assert state["status"] == "SUCCESS"
    assert client.request("GET", f"{prefix}/mj/task/{task}/fetch").json() == state
    listed = client.request("POST", f"{prefix}/mj/task/list-by-condition", json={"ids": [task, int(task), "1234567890123456"]})
    assert listed.json() == [state]


@pytest.mark.parametrize("path", ["/mj/insight-face/swap", "/mj/task/list-by-condition"])
def test_without_the_secret_nothing_is_done(client: Client, path: str) -> None:
    for headers in ({}, {"mj-api-secret": "wrong"}, {"Authorization": "Bearer wrong"}):
        answer = Client(client.base).request("POST", path, json={}, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["result"] is None


def test_a_body_that_is_too_large_is_refused_in_json_through_rays_proxy(client: Client) -> None:
    answer = client.request("POST", "/mj/insight-face/swap", content=b'{"sourceBase64":"' + b"A" * 30_000_000 + b'"}')
    assert answer.status_code == 413
    assert answer.json()["code"] == 4


def test_the_absolute_form_of_the_address_is_the_same_request(client: Client) -> None:
    host = client.base.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    body = json.dumps({"sourceBase64": data_url(HANKS.read_bytes()), "targetBase64": data_url(png(head(2)))})
    headers = {"Content-Type": "application/json", "mj-api-secret": client.secret or ""}
    connection.request("POST", f"{client.base}/mj/insight-face/swap", body, headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer["code"] == 1
    assert client.finished(answer["result"])["status"] == "SUCCESS"


def test_an_unknown_route_is_json(client: Client) -> None:
    answer = client.request("GET", "/mj/nowhere")
    assert answer.status_code == 404
    assert answer.json()["path"] == "/mj/nowhere"


def test_a_hook_that_is_no_address_is_refused_by_name(client: Client) -> None:
    body = {"sourceBase64": data_url(HANKS.read_bytes()), "targetBase64": data_url(png(head(2))), "notifyHook": "laboris"}
    answer = client.request("POST", "/mj/insight-face/swap", json=body)
    assert answer.status_code == 200
    assert answer.json()["code"] == 4
    assert answer.json()["result"] is None
    assert "notifyHook" in str(answer.json())


def scrambled(data: bytes) -> bytes:
    """A JPEG whose header and end mark are whole and whose scan is cut short."""
    start = data.index(b"\xff\xda") + 14
    return data[:start] + data[-2:]


@pytest.mark.parametrize("at_fault", ["source", "target"])
def test_a_picture_without_a_face_fails_and_says_which(client: Client, at_fault: str) -> None:
    wall = png(np.full((200, 300, 3), 127, np.uint8))
    pictures = {"source": HANKS.read_bytes(), "target": png(head(5)), at_fault: wall}
    with listening() as hook:
        task = client.submit(**pictures, notifyHook=hook.url)
        end = hook.wait_for_end(task)[-1]
    assert end["status"] == "FAILURE"
    assert end["progress"] == ""
    assert end["imageUrl"] is None
    assert f"{at_fault} picture" in end["failReason"]
    assert "no face" in end["failReason"]
    assert end["startTime"] <= end["finishTime"]


def test_a_picture_that_does_not_decode_fails_and_says_which(client: Client) -> None:
    task = client.submit(HANKS.read_bytes(), scrambled(jpeg(head(5))))
    end = client.finished(task)
    assert end["status"] == "FAILURE"
    assert "target picture" in end["failReason"]


def test_bad_input_costs_a_neighbour_nothing(client: Client) -> None:
    good = [client.submit(HANKS.read_bytes(), png(head(n))) for n in range(3)]
    bad = client.submit(HANKS.read_bytes(), scrambled(jpeg(head(5))))
    assert client.finished(bad)["status"] == "FAILURE"
    assert [client.finished(task)["status"] for task in good] == ["SUCCESS"] * 3


def test_health_says_what_runs(client: Client) -> None:
    said = Client(client.base).request("GET", "/health").json()
    assert said["status"] == "ok"
    assert said["family"] == "builtin"
    assert {"detect", "identify", "swap"} <= said["engines"].keys()
    assert all(engine["runtime"] and engine["precision"] for engine in said["engines"].values())
    assert said["versions"]["ray"] == "2.60.0"
