"""api/submission.py through the door: what a submit may look like, and the contract's answer for each thing that is wrong with it."""

from __future__ import annotations

import io
import re
import struct
import textwrap
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve_app.api.config import DefaultLimits
from serve_app.api.errors import Answer
from tests.api.support import LEFT_OUT, SWAP, MakeService, Service, data_url, plain, sample
from tests.pictures import ASTRONAUT, SIX_PEOPLE


async def refusal(service: Service, answer: Answer, field: str, **members: object) -> str:
    """Submit, expect this answer for this field and that nothing was kept; returns the reason."""
    body = await service.submit(**members)
    assert body["code"] == answer.code
    assert body["description"] == answer.description.format(field=field)
    assert body["result"] is None
    assert body["properties"]["field"] == field
    assert not service.accepted
    assert not service.stored()
    assert service.rows() == 0
    reason = body["properties"]["reason"]
    assert isinstance(reason, str)
    assert reason.endswith(".")
    return reason


async def test_an_accepted_swap_is_stored_before_it_is_answered(service: Service) -> None:
    source, target = SIX_PEOPLE.read_bytes(), ASTRONAUT.read_bytes()
    body = await service.submit(sourceBase64=data_url(source), targetBase64=data_url(target))
    assert body["code"] == 1
    assert body["description"] == "提交成功"
    assert re.fullmatch(r"\d{16}", body["result"])
    assert body["properties"] == {"discordInstanceId": "", "numberOfQueues": 0}
    assert await service.blobs.get(f"inputs/{body['result']}/source") == source
    assert await service.blobs.get(f"inputs/{body['result']}/target") == target
    assert [task.id for task in service.accepted] == [body["result"]]


@pytest.mark.parametrize("instance_id", ["61", "string"])
@pytest.mark.parametrize("url", [SWAP, f"http://swap.test{SWAP}"])
async def test_the_published_examples(make_service: MakeService, instance_id: str, url: str) -> None:
    service = await make_service(secret="key")
    source, target = SIX_PEOPLE.read_bytes(), ASTRONAUT.read_bytes()
    body: dict[str, Any] = {
        "sourceBase64": data_url(source, "image/jpeg"),
        "targetBase64": data_url(target),
        "accountFilter": {"instanceId": instance_id},
        "notifyHook": "http://127.0.0.1:9/hook",
        "state": "fugiat",
    }
    response = await service.client.post(url, json=body, headers={"mj-api-secret": "key"})
    assert response.status_code == 200
    answer = response.json()
    assert (answer["code"], answer["description"], type(answer["result"])) == (1, "提交成功", str)
    assert answer["properties"] == {"discordInstanceId": instance_id, "numberOfQueues": 0}
    task = await service.store.get(answer["result"])
    assert task is not None
    assert (task.state, task.notify_hook, task.instance_id) == ("fugiat", "http://127.0.0.1:9/hook", instance_id)

    wrong_hook = await service.client.post(url, json={**body, "notifyHook": "laboris"}, headers={"mj-api-secret": "key"})
    assert wrong_hook.status_code == 200
    assert wrong_hook.json()["description"] == "校验错误: notifyHook"
    assert (await service.client.post(url, json=body)).status_code == 401


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(plain(sample(2)), id="plain base64"),
        pytest.param(data_url(sample(2, "JPEG"), "image/png"), id="jpeg called png"),
        pytest.param(data_url(sample(2), "image/jpeg"), id="png called jpeg"),
        pytest.param(data_url(sample(2, "WEBP"), ""), id="no type"),
        pytest.param("DATA:image/png;charset=x;BASE64," + plain(sample(2)), id="capitals and parameters"),
        pytest.param("\n".join(textwrap.wrap(plain(sample(2)), 76)) + "\r\n", id="lines"),
        pytest.param("  data:image/png;base64, " + plain(sample(2)), id="blanks"),
        pytest.param(plain(sample(2)).replace("+", "-").replace("/", "_").rstrip("="), id="url-safe without padding"),
    ],
)
async def test_every_spelling_of_a_picture(service: Service, text: str) -> None:
    body = await service.submit(sourceBase64=text)
    assert body["code"] == 1
    kept = await service.blobs.get(f"inputs/{body['result']}/source")
    assert kept in (sample(2), sample(2, "JPEG"), sample(2, "WEBP"))


@pytest.mark.parametrize(
    "members",
    [
        {"seed": 5, "mode": "RELAX", "request_id": "x", "botType": "INSIGHT_FACE", "options": {}},
        {"accountFilter": None, "notifyHook": "", "state": ""},
        {"accountFilter": {}, "notifyHook": None, "state": None},
        {"accountFilter": {"modes": ["FAST"], "channelId": None, "remix": True}},
        {"accountFilter": ["odd"], "sourceUrl": "", "targetUrl": ""},
        {"accountFilter": {"instanceId": ""}, "sourceUrl": "https://example.com/ignored.png"},
        {"accountFilter": {"instanceId": {"deep": 1}}},
        {"accountFilter": {"instanceId": "x" * 10_000}},
    ],
)
async def test_what_clients_add_is_tolerated(service: Service, members: dict[str, object]) -> None:
    body = await service.submit(**members)
    assert body["code"] == 1
    assert body["properties"]["discordInstanceId"] == ""


async def test_a_number_names_an_instance_too(service: Service) -> None:
    assert (await service.submit(accountFilter={"instanceId": 61}))["properties"]["discordInstanceId"] == "61"


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("value", [LEFT_OUT, None, "", " \n"])
async def test_a_missing_picture(service: Service, side: str, value: object) -> None:
    await refusal(service, Answer[f"{side.upper()}_MISSING"], f"{side}Base64", **{f"{side}Base64": value})


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("data:image/png;base64,@@@", "not base64"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png," + plain(sample(2)), "not base64"),
        ("data:image/png;base64", "not base64"),
        ("图片", "not base64"),
        (plain(b"<html>no</html>"), "HTML"),
        (plain(b"%PDF-1.7"), "This is a PDF"),
        (plain(sample(2, "JPEG")[:-2]), "truncated"),
        (plain(sample(2, "PNG")[:-12]), "truncated"),
        (plain(sample(2, "WEBP")[:-2]), "truncated"),
        (plain(sample(2, width=1, height=300)), "at least 16"),
        (plain(sample(2, width=2000, height=16)), "too long and thin"),
    ],
)
async def test_what_is_not_a_picture(service: Service, side: str, value: str, word: str) -> None:
    reason = await refusal(service, Answer[f"{side.upper()}_FORMAT"], f"{side}Base64", **{f"{side}Base64": value})
    assert word in reason
    assert f"{side}Base64" in reason


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_picture_of_too_many_bytes(service: Service, side: str) -> None:
    limit = 10 * 1024 * 1024
    fits = sample(2) + bytes(limit - len(sample(2)))
    reason = await refusal(service, Answer[f"{side.upper()}_SIZE"], f"{side}Base64", **{f"{side}Base64": plain(fits + b"\x00")})
    assert "10,485,761" in reason
    assert (await service.submit(**{f"{side}Base64": plain(fits)}))["code"] == 1


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_picture_of_too_many_pixels(service: Service, side: str) -> None:
    header = struct.pack(">4sIIBBBBB", b"IHDR", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = sample(2)[:12] + header + zlib.crc32(header).to_bytes(4, "big") + sample(2)[33:]
    reason = await refusal(service, Answer[f"{side.upper()}_SIZE"], f"{side}Base64", **{f"{side}Base64": plain(bomb)})
    assert "30000 x 30000" in reason


async def test_the_same_picture_twice(service: Service) -> None:
    same = data_url(sample(3))
    await refusal(service, Answer.SAME_PICTURE, "targetBase64", sourceBase64=same, targetBase64=same)
    await refusal(service, Answer.SAME_PICTURE, "targetBase64", sourceBase64=same, targetBase64=plain(sample(3)))


async def test_state_is_bounded_and_kept_to_the_letter(service: Service) -> None:
    await refusal(service, Answer.INVALID, "state", state="字" * 1025)
    await refusal(service, Answer.INVALID, "state", state="a\x00b")
    body = await service.submit(state=" 字" * 512)
    assert (await service.fetch(body["result"]))["state"] == " 字" * 512


@pytest.mark.parametrize(
    "hook",
    [
        "laboris",
        "ftp://example.com/x",
        "http://",
        "http:///path",
        "https://[bad/",
        "http://a:99999/",
        "/relative",
        "http://a b/",
        "http://exa\nmple.com",
        "http://example.com/" + "x" * 3000,
        "javascript:alert(1)",
    ],
)
async def test_a_hook_that_cannot_be_called(service: Service, hook: str) -> None:
    assert "http" in await refusal(service, Answer.INVALID, "notifyHook", notifyHook=hook)


@pytest.mark.parametrize("name", ["sourceBase64", "targetBase64", "sourceUrl", "targetUrl", "state", "notifyHook"])
@pytest.mark.parametrize("value", [5, 1.5, True, ["x"], {"a": "b"}])
async def test_members_of_a_wrong_type(service: Service, name: str, value: object) -> None:
    assert "string" in await refusal(service, Answer.INVALID, name, **{name: value})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b'"text"', b"5", b"\xff\xfe", b"[" * 100_000, b"{'a': 1}", b"--boundary\r\nContent-Disposition: x"]
)
async def test_a_body_that_is_not_a_json_object(service: Service, body: bytes) -> None:
    response = await service.client.post(SWAP, content=body, headers={"content-type": "text/plain"})
    assert response.status_code == 200
    assert response.json()["code"] == 4
    assert response.json()["description"] == "校验错误: body"
    assert "JSON" in response.json()["properties"]["reason"]


async def test_two_pictures_of_the_largest_size_fit_into_a_body(service: Service) -> None:
    first, second = (sample(seed) + bytes(10 * 1024 * 1024 - len(sample(seed))) for seed in (1, 2))
    assert (await service.submit(sourceBase64=data_url(first), targetBase64=data_url(second)))["code"] == 1


async def test_a_body_of_brackets_is_refused_before_it_becomes_objects(service: Service) -> None:
    body = b'{"sourceBase64":[' + b"[]," * 200_000 + b"[]]}"
    answer = await service.client.post("/mj/insight-face/swap", content=body)
    assert answer.status_code == 200
    assert answer.json()["code"] == 4
    assert "lists" in answer.json()["properties"]["reason"]


@pytest.mark.parametrize("hook", ["http://a..b/", f"http://{'a' * 300}.com/"])
async def test_a_hook_whose_host_cannot_exist_is_refused(service: Service, hook: str) -> None:
    answer = await service.submit(
        sourceBase64=data_url(SIX_PEOPLE.read_bytes()), targetBase64=data_url(ASTRONAUT.read_bytes()), notifyHook=hook
    )
    assert answer["code"] == 4
    assert answer["properties"]["field"] == "notifyHook"


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
@pytest.mark.parametrize("side", ["source", "target"])
async def test_animations_are_refused_where_the_setting_says_so(make_service: MakeService, side: str, format: str) -> None:
    service = await make_service(limits=DefaultLimits(animations="refuse"))
    frames = [Image.fromarray(np.full((40, 30, 3), shade, np.uint8)) for shade in (90, 160)]
    out = io.BytesIO()
    frames[0].save(out, format, save_all=True, append_images=frames[1:])
    reason = await refusal(service, Answer[f"{side.upper()}_FORMAT"], f"{side}Base64", **{f"{side}Base64": data_url(out.getvalue())})
    assert "more than one frame or page. Send a still picture." in reason
    assert (await service.submit())["code"] == 1


async def test_how_long_and_thin_a_picture_may_be_is_a_setting(make_service: MakeService) -> None:
    service = await make_service(limits=DefaultLimits(max_aspect=2))
    reason = await refusal(service, Answer.TARGET_FORMAT, "targetBase64", targetBase64=plain(sample(2, width=90, height=44)))
    assert "too long and thin" in reason
    assert (await service.submit(targetBase64=plain(sample(2, width=88, height=44))))["code"] == 1


@pytest.mark.parametrize("name", ["targetBase64", "sourceBase64"])
async def test_pixels_are_never_decoded_here(service: Service, name: str) -> None:
    """A header that holds together and no pixels at all: only decoding would notice."""
    start, end = b"\x89PNG\r\n\x1a\n", struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    header = b"IHDR" + struct.pack(">IIBBBBB", 6000, 6000, 8, 2, 0, 0, 0)
    rows = b"IDAT" + b"nothing"
    parts = b"".join(struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, rows))
    assert (await service.submit(**{name: plain(start + parts + end), "options": {"output": {"format": "avif"}}}))["code"] == 1
