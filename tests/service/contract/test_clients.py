"""Well-known clients of the contract, replayed against the running service with nothing but its base URL and a key."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.pictures import ASTRONAUT, HANKS, data_url, head, jpeg, png
from tests.service.client import Client
from tests.service.contract.replays import (
    CHATNIO_ANSWER,
    ChatNio,
    Failed,
    NewApi,
    OneHub,
    PlusPage,
    WebProxy,
    comfly,
    geekai,
    opened,
)
from tests.service.contract.strict import RELAYED_TASK, SUBMITTED, Mismatch, decode
from tests.service.hook import listening

FACE, PHOTO = HANKS.read_bytes(), jpeg(head(2))
SIZE = opened(PHOTO).size
WALL = png(np.full((96, 128, 3), 127, np.uint8))  # nobody is in it
BODY = {"sourceBase64": data_url(FACE), "targetBase64": data_url(PHOTO)}
ENDLESS = {"accountFilter": {"instanceId": "9"}, "notifyHook": "http://127.0.0.1:9/nobody"}  # the relays take both out


@pytest.fixture
def key(client: Client) -> str:
    assert client.secret
    return client.secret


@pytest.mark.parametrize("relay", [NewApi, OneHub])
def test_a_relay_finishes_its_rows_and_refunds_what_failed(client: Client, key: str, relay: type[NewApi]) -> None:
    gateway = relay(client.base, key)
    good = [gateway.submit({**BODY, **ENDLESS, "state": f"user {number}"}) for number in range(3)]
    bad = gateway.submit({**BODY, "targetBase64": data_url(WALL)})
    gateway.run()
    for row in good:
        assert (row.status, row.refunded, row.fail_reason) == ("SUCCESS", False, "")
        assert 0 < row.times[0] <= row.times[1] <= row.times[2]
        assert gateway.picture(row).size == SIZE
    assert [row.state for row in good] == ["user 0", "user 1", "user 2"]
    assert (bad.status, bad.refunded) == ("FAILURE", True)
    assert "no face" in bad.fail_reason


def test_a_relay_does_not_bill_what_was_refused(client: Client, key: str) -> None:
    gateway = NewApi(client.base, key)
    with pytest.raises(Failed, match="人脸图片不能为空"):
        gateway.submit({**BODY, "sourceBase64": ""})
    with pytest.raises(Failed, match="Unauthorized"):
        NewApi(client.base, "wrong").submit(BODY)
    gateway.poll()  # also with nothing to ask for
    assert gateway.rows == {}


@pytest.mark.parametrize("client_of", [geekai, comfly])
def test_a_client_that_polls_gets_its_picture(client: Client, key: str, client_of: type) -> None:
    assert client_of(client.base, key, FACE, PHOTO).size == SIZE


@pytest.mark.parametrize("client_of", [geekai, comfly])
def test_a_client_that_polls_tells_its_user_why_there_is_no_picture(client: Client, key: str, client_of: type) -> None:
    with pytest.raises(Failed, match="no face"):
        client_of(client.base, key, FACE, WALL)
    with pytest.raises(Failed, match="Unauthorized"):
        client_of(client.base, "wrong", FACE, PHOTO)


def test_geekai_tells_its_user_that_its_own_download_failed(client: Client, key: str) -> None:
    with pytest.raises(Failed, match="人脸图片"):
        geekai(client.base, key, b"", PHOTO)


def test_chatnio_gets_its_picture_from_callbacks_alone(client: Client, key: str) -> None:
    chatnio = ChatNio(client.base, key)
    with listening(body=CHATNIO_ANSWER) as hook:
        good, bad = chatnio.submit(FACE, PHOTO, hook.url), chatnio.submit(FACE, WALL, hook.url)
        for task in (good, bad):
            hook.wait_for_end(task)
        calls = [call.body for call in hook.calls]
    assert chatnio.picture(good, calls).size == SIZE
    with pytest.raises(Failed, match="no face"):
        chatnio.picture(bad, calls)


def test_the_plus_page_watches_its_tasks_to_the_end(client: Client, key: str) -> None:
    page = PlusPage(client.base, key)
    good, bad = page.submit(FACE, PHOTO), page.submit(FACE, WALL)
    page.watched["1234567890123456"] = {}  # of another server: dropped
    cards = page.watch()
    assert cards.keys() == {good, bad}
    assert all(card["swap"] and card["buttons"] == [] and not card["cancellable"] for card in cards.values())
    assert cards[good]["state"] == "midjourney-proxy-admin"
    assert cards[good]["title"][0] == cards[good]["status"] == "SUCCESS"
    assert opened(client.picture(cards[good])).size == SIZE
    assert "no face" in cards[bad]["failReason"]


def test_a_page_of_another_origin_swaps_in_the_browser(client: Client, key: str) -> None:
    assert WebProxy(client.base, key).swap(ASTRONAUT.read_bytes(), PHOTO).size == SIZE
    with pytest.raises(Failed, match="no face"):
        WebProxy(client.base, key).swap(FACE, WALL)
    with pytest.raises(Failed, match="目标图片格式错误"):
        WebProxy(client.base, key).swap(FACE, b"GIF89a")
    with pytest.raises(Failed, match="Unauthorized"):
        WebProxy(client.base, "wrong").swap(FACE, PHOTO)


@pytest.mark.parametrize(
    "task",
    [
        b'{"submitTime":1.0}',
        b'{"submitTime":1724000000000.5}',
        b'{"submitTime":"1724000000000"}',
        b'{"finishTime":9223372036854775808}',
        b'{"id":1724000000000123}',
        b'{"properties":[]}',
        b'{"properties":{"finalPrompt":1}}',
        b'{"videoUrls":{}}',
        b'{"PROGRESS":0}',
        b'{"submitTime":NaN}',
        b"null,",
    ],
)
def test_the_decoder_is_as_strict_as_the_clients(task: bytes) -> None:
    with pytest.raises((Mismatch, json.JSONDecodeError)):
        decode(task, RELAYED_TASK)


def test_the_decoder_is_no_stricter_than_the_clients() -> None:
    task = decode(b'{"submitTime":null,"properties":null,"buttons":7,"unknown":{},"ID":"1"}', RELAYED_TASK)
    assert (task["submitTime"], task["properties"], task["id"], task["videoUrls"]) == (0, None, "1", [])
    with pytest.raises(Mismatch):
        decode(b'{"result":7}', SUBMITTED)
