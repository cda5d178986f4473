"""The running service beyond the cases of the contract: see contract/test_cases.py."""

from __future__ import annotations

import http.client
import json

from tests.pictures import HANKS, data_url, head, jpeg, png
from tests.service.client import Client


def test_a_finished_task_says_how_long_its_stages_took(client: Client) -> None:
    stages = client.finished(client.submit(HANKS.read_bytes(), png(head(1))))["properties"]["stages"]
    assert {"queue", "read", "decode", "detect", "identify", "swap", "paste", "encode", "write"} <= stages.keys()


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
