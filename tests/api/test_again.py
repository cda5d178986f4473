"""api/again.py: a request that a dead replica may have done already is done once, and answered as if it had been the only one."""

from __future__ import annotations

import asyncio

import pytest

from serve_app.api.again import mark
from serve_app.tasks.room import Bounds
from tests.api.support import MakeService, Service, swap_body


def sent(number: int, token: str = "0123abc") -> dict[str, str]:
    name, value = mark(token, number)
    return {name.decode(): value.decode()}


async def submitted(service: Service, number: int, token: str = "0123abc", **headers: str) -> str:
    answer = (await service.post(headers={**sent(number, token), **headers})).json()
    assert answer["code"] == 1, answer
    return str(answer["result"])


async def test_a_submit_that_was_sent_twice_makes_one_task(service: Service) -> None:
    assert await submitted(service, 0) == await submitted(service, 1) == await submitted(service, 2)
    assert service.rows() == 1
    assert len(service.stored()) == 2


async def test_a_submit_that_nobody_had_done_is_done_the_second_time(service: Service) -> None:
    assert await submitted(service, 1)
    assert service.rows() == 1


async def test_both_at_once_make_one_task(service: Service) -> None:
    tasks = await asyncio.gather(submitted(service, 0), submitted(service, 1), submitted(service, 2))
    assert len(set(tasks)) == 1
    assert service.rows() == 1
    assert len(service.stored()) == 2


async def test_two_submits_of_the_same_pictures_are_two_tasks(service: Service) -> None:
    assert await submitted(service, 0, "aaa") != await submitted(service, 0, "bbb")


async def test_the_clients_own_key_goes_first(service: Service) -> None:
    key = {"Idempotency-Key": "order-1"}
    assert (
        await submitted(service, 0, "aaa", **key) == await submitted(service, 1, "aaa", **key) == await submitted(service, 0, "bbb", **key)
    )


async def test_only_what_was_sent_before_needs_no_room(make_service: MakeService) -> None:
    service = await make_service(bounds=Bounds(1, 1.0))
    first = await submitted(service, 0, "aaa")
    assert (await service.post(headers=sent(0, "bbb"))).json()["code"] == 23
    assert (await service.post(headers=sent(1, "bbb"))).json()["code"] == 23
    assert await submitted(service, 1, "aaa") == first


@pytest.mark.parametrize("number", [0, 1])
async def test_a_cancel_that_was_sent_before_finds_its_own_work(service: Service, number: int) -> None:
    task = (await service.submit())["result"]
    assert (await service.post(f"/mj/task/{task}/cancel", headers=sent(0))).json()["code"] == 1
    assert (await service.post(f"/mj/task/{task}/cancel", headers=sent(number))).json()["code"] == (1 if number else 4)


async def test_a_cancel_that_was_sent_before_does_not_claim_another_end(service: Service) -> None:
    task = (await service.submit())["result"]
    await service.finish(task, b"picture")
    assert (await service.post(f"/mj/task/{task}/cancel", headers=sent(1))).json()["code"] == 4


@pytest.mark.parametrize("number", [0, 1])
async def test_a_delete_that_was_sent_before_finds_its_own_work(service: Service, number: int) -> None:
    task = (await service.submit())["result"]
    assert (await service.client.delete(f"/mj/task/{task}", headers=sent(0))).status_code == 200
    assert (await service.client.delete(f"/mj/task/{task}", headers=sent(number))).status_code == (200 if number else 404)


@pytest.mark.parametrize("value", ["", "-", "abc", "abc-", "-1"])
async def test_a_header_that_is_none_of_ours_does_no_harm(service: Service, value: str) -> None:
    for _ in range(2):
        assert (await service.post(body=swap_body(), headers={"x-faceswap-sent": value})).json()["code"] == 1
