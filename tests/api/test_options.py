"""api/plan.py, and what `options` bring: which wishes fit together, further pictures, repetitions."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.api.config import DefaultLimits
from serve_app.options import Options
from serve_app.tasks.blobs import pack, unpack
from tests.api.support import LEFT_OUT, MakeService, Service, data_url, plain, sample, swap_body

DETECT = "/mj/insight-face/detect"
FURTHER = {"base64": data_url(sample(5)), "target": 0}


async def accepted(service: Service, options: dict[str, Any], **members: object) -> Options:
    body = await service.submit(options=options, **members)
    assert body["code"] == 1, body
    task = await service.store.get(body["result"])
    assert task is not None
    return Options.of(task.options)


@pytest.mark.parametrize("options", [None, {}, {"wait": 0}, {"faces": None}, {"faces": "largest"}, {"sourceFace": "largest", "minFace": 0}])
async def test_what_nobody_asks_for_is_not_stored(service: Service, options: object) -> None:
    task = await service.store.get((await service.submit(options=options))["result"])
    assert task is not None
    assert task.options is None


async def test_wishes_travel_with_the_task(service: Service) -> None:
    asked = await accepted(service, {"faces": [3, 1], "sourceFace": 2, "minFace": 30, "minScore": 0.7})
    assert asked == Options.of({"faces": [1, 3], "sourceFace": 2, "minFace": 30, "minScore": 0.7})
    assert (await accepted(service, {"faces": "all"})).faces == "all"


async def test_further_pictures_are_stored_and_go_with_the_others(service: Service) -> None:
    sources = [FURTHER, {"base64": plain(sample(6)), "face": 1, "target": [1, 2]}]
    body = await service.submit(sourceBase64=LEFT_OUT, options={"sources": sources})
    task = await service.store.get(body["result"])
    assert task is not None
    assert await service.blobs.get_inputs(task.id) == (sample(5), sample(1))
    assert await service.blobs.get_more(task.id) == [sample(6)]
    asked = Options.of(task.options)
    assert [(one.picture, one.face, one.targets) for one in asked.sources] == [(None, "largest", (0,)), (0, 1, (1, 2))]
    assert (asked.faces, asked.main, [asked.shown(one.picture) for one in asked.sources]) == ((), False, [0, 1])
    await service.post(f"/mj/task/{task.id}/cancel", {})
    assert service.stored() == []


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"sources": []}, "options.sources"),
        ({"sources": [FURTHER]}, "options.sources"),  # nothing is left for sourceBase64
        ({"sources": [FURTHER, FURTHER], "faces": [1]}, "options.sources"),
        ({"sources": [{"base64": data_url(sample(5))}], "faces": [1]}, "options.sources.0.target"),
        ({"sources": [{**FURTHER, "target": [0, -1]}], "faces": [1]}, "options.sources.0.target"),
        ({"sources": [{**FURTHER, "target": True}], "faces": [1]}, "options.sources.0.target"),
        ({"sources": [{**FURTHER, "face": -1}], "faces": [1]}, "options.sources.0.face"),
        ({"sources": [{**FURTHER, "weight": 1}], "faces": [1]}, "options.sources.0.weight"),
        ({"sources": [{"target": 0}], "faces": [1]}, "options.sources.0.base64"),
        ({"sources": [{"base64": "nonsense!", "target": 0}], "faces": [1]}, "options.sources.0.base64"),
        ({"sources": [{"url": "ftp://x/y", "target": 0}], "faces": [1]}, "options.sources.0.url"),
        ({"sources": [{**FURTHER, "target": number} for number in range(3)], "faces": [9]}, "options.sources"),
        ({"faces": list(range(5))}, "options.faces"),
        ({"faces": "nearest"}, "options.reference"),
        ({"faces": "all", "reference": {"base64": data_url(sample(5))}}, "options.reference"),
        ({"faces": "nearest", "reference": {"base64": data_url(sample(5))}}, "options.faces"),  # of a family that cannot
        ({"sourceFace": 1.0}, "options.sourceFace"),
        ({"minFace": -1}, "options.minFace"),
        ({"minScore": 2}, "options.minScore"),
        ({"source_face": 1}, "options.source_face"),
    ],
)
async def test_wishes_that_do_not_fit_together(make_service: MakeService, options: dict[str, Any], field: str) -> None:
    service = await make_service(limits=DefaultLimits(max_sources=2, max_faces=4))
    body = await service.submit(options=options)
    assert (body["code"], body["properties"]["field"]) == (4, field), body
    assert service.rows() == len(service.stored()) == 0


@pytest.mark.parametrize("faces", ["largest", "nearest", [0, 1]])
async def test_faces_without_a_source(service: Service, faces: object) -> None:
    reference = {"reference": {"base64": data_url(sample(6))}} if faces == "nearest" else {}
    body = await service.submit(sourceBase64=LEFT_OUT, options={"faces": faces, "sources": [FURTHER], **reference})
    assert (body["code"], body["properties"]["field"]) == (4, "options.faces")
    assert (await service.submit(sourceBase64=LEFT_OUT, options={"faces": "all"}))["properties"]["field"] == "sourceBase64"


async def test_a_reference_comes_after_the_sources(make_service: MakeService) -> None:
    service = await make_service(compares_people=True)
    reference, sources = {"base64": data_url(sample(7))}, [{**FURTHER, "target": 4}]
    asked = await accepted(service, {"faces": "nearest", "reference": reference, "sources": sources})
    assert (asked.faces, asked.nearest, asked.sources[0].picture) == ("nearest", 1, 0)
    assert await service.blobs.get_more(service.accepted[0].id) == [sample(5), sample(7)]


async def test_a_repetition_has_the_same_options(service: Service) -> None:
    key = {"Idempotency-Key": "k"}
    options: dict[str, object] = {"faces": "all", "sources": [FURTHER]}
    first = (await service.post(body=swap_body(options=options), headers=key)).json()
    assert (await service.post(body=swap_body(options={**options, "wait": 0.01}), headers=key)).json()["result"] == first["result"]
    other = {**FURTHER, "base64": data_url(sample(6))}
    others: list[dict[str, object]] = [{}, {"faces": "all"}, {"faces": [1], "sources": [FURTHER]}, {"faces": "all", "sources": [other]}]
    for changed in others:
        body = (await service.post(body=swap_body(options=changed), headers=key)).json()
        assert (body["code"], body["properties"]["field"]) == (4, "Idempotency-Key")


async def test_detection_counts_keys_apart_and_keeps_nothing(make_service: MakeService) -> None:
    service = await make_service()
    tokens = [(await service.keys.create(name, daily=1))[1] for name in ("first", "second")]
    for token in tokens:
        for _ in range(2):
            body = (await service.post(DETECT, {"targetBase64": data_url(sample(1))}, {"mj-api-secret": token})).json()
            assert (body["code"], body["result"], body["properties"]["faces"]) == (1, None, [])
    assert (await service.post(DETECT, {"targetBase64": data_url(sample(1))})).status_code == 401
    assert service.rows() == len(service.stored()) == 0


def test_pieces() -> None:
    for pieces in ([], [b""], [b"a", b"", b"b" * 300_000]):
        assert unpack(pack(pieces)) == pieces
    with pytest.raises(ValueError, match="cut off"):
        unpack(pack([b"abc"])[:-1])
