"""Requests that do not succeed are counted by the name and code of their answer, wherever they end."""

from __future__ import annotations

from tests.api.support import SWAP, MakeService
from tests.recorded import Recorded


async def test_every_refusal_is_counted_once(make_service: MakeService) -> None:
    recorded = Recorded()
    service = await make_service(secret="sk-right", record=recorded)
    right = {"mj-api-secret": "sk-right"}
    assert (await service.post(headers=right)).json()["code"] == 1
    assert recorded.counted == {}
    await service.post()  # before any route: the key
    await service.post(body={}, headers=right)
    await service.client.get("/mj/task/1/fetch", headers=right)
    await service.client.get("/mj/nowhere", headers=right)
    await service.client.get(SWAP, headers=right)
    service.drop()
    await service.post(headers=right)
    assert recorded.counted == {
        ("refusals", "unauthorized", "4"): 1,
        ("refusals", "source_missing", "4"): 1,
        ("refusals", "task_unknown", "3"): 1,
        ("refusals", "route_unknown", "3"): 1,
        ("refusals", "method_wrong", "4"): 1,
        ("refusals", "submit_failed", "9"): 1,
    }
