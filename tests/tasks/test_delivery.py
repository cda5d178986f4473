from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from ipaddress import ip_network

import pytest
from aiohttp import web
from sqlalchemy import Connection, text

from serve_app.egress.address import AddressPolicy
from serve_app.egress.client import Egress
from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.delivery import Courier
from serve_app.tasks.lanes import Places
from serve_app.tasks.outbox import Callback, Outbox
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task
from tests.recorded import Recorded
from tests.tasks.common import Clock, claimed, new, no_inputs, walk
from tests.tasks.receiver import Answer, Receiver

Start = Callable[..., AbstractAsyncContextManager[Courier]]


def render(task: Task) -> Mapping[str, object]:
    return {"id": task.id, "status": task.status, "progress": f"{task.progress}%", "state": "脸"}


@pytest.fixture
def clock() -> Clock:
    """Starts at the real time: what is delivered here takes real time."""
    return Clock(now_ms())


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    """To receivers on the loopback."""
    egress = Egress(AddressPolicy((ip_network("127.0.0.0/8"),)))
    await egress.start()
    yield egress
    await egress.close()


@pytest.fixture
def courier(outbox: Outbox, clock: Clock, egress: Egress) -> Start:
    @asynccontextmanager
    async def start(**options: object) -> AsyncIterator[Courier]:
        courier = Courier(outbox, render, clock=clock, **{"egress": egress, **options})  # type: ignore[arg-type]
        await courier.start()
        try:
            yield courier
        finally:
            await courier.stop()

    return start


def always(status: int) -> Answer:
    async def answer(_count: int) -> web.Response:
        return web.Response(status=status)

    return answer


async def settled(outbox: Outbox, database: Database, clock: Clock) -> list[tuple[int, int | None, str | None]]:
    """(attempt, due, error) of each row, once no try is under way."""
    query = text("select trying, attempt, due, error from callbacks")
    async with asyncio.timeout(10):
        while True:
            rows = await database.read(lambda connection: connection.execute(query).all())
            if rows and not any(row.trying for row in rows) and all(row.attempt for row in rows):
                return [(row.attempt, row.due, row.error) for row in rows]
            await asyncio.sleep(0.01)


async def all_heard(database: Database, clock: Clock, courier: Courier) -> None:
    """Let time pass whenever no try is under way, until nothing is owed."""
    query = text("select count(*), coalesce(sum(trying), 0) from callbacks")
    async with asyncio.timeout(10):
        while (found := await database.read(lambda connection: connection.execute(query).one()))[0]:
            if not found[1]:
                clock.tick(0.5)
                courier.wake()
            await asyncio.sleep(0.05)


async def test_a_hook_hears_every_state_in_order_as_json(store: TaskStore, courier: Start) -> None:
    async with Receiver() as hook, courier():
        task = await walk(store, hook.url)
        heard = await hook.has_heard(3)
    assert [one.body["status"] for one in heard] == ["SUBMITTED", "IN_PROGRESS", "SUCCESS"]
    assert heard[2].body == {"id": task.id, "status": "SUCCESS", "progress": "100%", "state": "脸"}
    assert {one.content_type for one in heard} == {"application/json"}
    assert len({one.webhook_id for one in heard}) == 3


async def test_the_next_callback_does_not_wait_for_the_next_look(store: TaskStore, courier: Start) -> None:
    async with Receiver() as hook:
        for _ in range(12):
            await walk(store, hook.url)
        async with courier(places=Places(quick=1, total=1)):
            await hook.has_heard(36, within_s=6)


async def test_what_another_process_committed_is_found_without_a_wake(store: TaskStore, courier: Start) -> None:
    async with Receiver() as hook, courier():
        await asyncio.sleep(0.3)
        await walk(store, hook.url, steps=1)
        await hook.has_heard(1, within_s=1.5)


async def test_an_error_is_tried_again_under_the_same_id(
    store: TaskStore, courier: Start, outbox: Outbox, database: Database, clock: Clock
) -> None:
    async def answer(count: int) -> web.Response:
        return web.Response(status=[500, 429, 408, 301, 200][count], headers={"Location": "/elsewhere"} if count == 3 else None)

    async with Receiver(answer) as hook, courier() as running:
        await walk(store, hook.url, steps=1)
        for tries in range(1, 5):
            await hook.has_heard(tries)
            ((attempt, due, _),) = await settled(outbox, database, clock)
            assert attempt == tries
            assert due is not None
            assert 0.499 * 1.5 ** (tries - 1) <= (due - clock.now) / 1000 <= 1.5 ** (tries - 1)
            clock.now = due
            running.wake()
        heard = await hook.has_heard(5)
    assert len({one.webhook_id for one in heard}) == 1
    assert {one.path for one in heard} == {"/hook"}, "redirects are not followed"
    assert not await outbox.any_due()


async def test_tries_end_after_a_day(store: TaskStore, courier: Start, outbox: Outbox, database: Database, clock: Clock) -> None:
    async with Receiver(always(503)) as hook:
        await walk(store, hook.url, steps=1)
        clock.tick(24 * 3600)
        async with courier():
            assert await settled(outbox, database, clock) == [(1, None, "HTTP 503")]


async def test_other_refusals_are_final_and_the_log_keeps_the_urls_secrets(
    store: TaskStore, courier: Start, outbox: Outbox, database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with Receiver(always(404)) as hook, courier():
        await walk(store, f"http://user:pa55@{hook.host}/s3cret/?token=t0ken", steps=1)
        assert await settled(outbox, database, clock) == [(1, None, "HTTP 404")]
        assert len(hook.heard) == 1
    assert hook.host in caplog.text
    assert not any(secret in caplog.text for secret in ("user", "pa55", "s3cret", "t0ken"))


@pytest.mark.parametrize(
    ("retry_after", "low_s", "high_s"), [("120", 120, 120), ("in a while", 0.5, 1), ("99999", 3600, 3600), (None, 0.5, 1)]
)
async def test_a_receiver_says_when_to_come_again(
    store: TaskStore,
    courier: Start,
    outbox: Outbox,
    database: Database,
    clock: Clock,
    retry_after: str | None,
    low_s: float,
    high_s: float,
) -> None:
    async def busy(_count: int) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": retry_after} if retry_after else None)

    async with Receiver(busy) as hook, courier():
        await walk(store, hook.url, steps=1)
        ((_, due, _),) = await settled(outbox, database, clock)
    assert due is not None
    assert low_s <= (due - clock.now) / 1000 <= high_s


async def test_a_receiver_may_say_it_with_a_date(
    store: TaskStore, courier: Start, outbox: Outbox, database: Database, clock: Clock
) -> None:
    at = clock.now // 1000 + 300

    async def busy(_count: int) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": formatdate(at, usegmt=True)})

    async with Receiver(busy) as hook, courier():
        await walk(store, hook.url, steps=1)
        ((_, due, _),) = await settled(outbox, database, clock)
    assert due is not None
    assert abs(due / 1000 - at) < 0.01


async def test_a_refused_address_is_never_called(
    store: TaskStore, courier: Start, outbox: Outbox, database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = Egress(AddressPolicy())
    await guarded.start()
    async with Receiver() as hook, courier(egress=guarded):
        await walk(store, f"http://user:pa55@{hook.host}/s3cret/?token=t0ken", steps=1)
        assert await settled(outbox, database, clock) == [(1, None, "127.0.0.1: loopback addresses are not called")]
        assert hook.heard == []
    await guarded.close()
    assert not any(secret in caplog.text for secret in ("user", "pa55", "s3cret", "t0ken"))


@pytest.mark.parametrize("url", ["http://", "http://[half/", "http://a:99999/"])
async def test_a_hook_that_is_no_url_is_given_up(
    store: TaskStore, courier: Start, outbox: Outbox, database: Database, clock: Clock, url: str
) -> None:
    async with courier():
        await walk(store, url, steps=1)
        ((attempt, due, error),) = await settled(outbox, database, clock)
    assert (attempt, due) == (1, None)
    assert error


async def test_a_hook_that_hangs_is_cut_off_and_only_the_end_is_kept_for_it(
    store: TaskStore, courier: Start, outbox: Outbox, database: Database, clock: Clock
) -> None:
    async def answer(count: int) -> web.Response:
        if count == 0:
            await asyncio.sleep(60)
        return web.Response()

    async with Receiver(answer) as hook, courier(timeout_s=0.3) as running:
        await walk(store, hook.url)
        await all_heard(database, clock, running)
        assert hook.states() == ["SUBMITTED", "SUCCESS"]


async def test_a_hook_that_is_down_hears_the_end_when_it_is_back(
    store: TaskStore, courier: Start, outbox: Outbox, database: Database, clock: Clock
) -> None:
    async with Receiver() as gone:
        pass
    async with courier() as running:
        first = await walk(store, gone.url, steps=1)
        ((_, _, error),) = await settled(outbox, database, clock)
        assert error == "127.0.0.1 does not accept connections"
        second = await walk(store, gone.url)
        async with Receiver(port=gone.port) as back:
            await all_heard(database, clock, running)
            newest = {heard.body["id"]: heard.body["status"] for heard in back.heard}
            assert newest == {first.id: "SUBMITTED", second.id: "SUCCESS"}


async def test_dead_hooks_do_not_delay_a_live_one(store: TaskStore, courier: Start) -> None:
    release = asyncio.Event()

    async def hang(_count: int) -> web.Response:
        await release.wait()
        return web.Response()

    async with Receiver(hang) as dead, Receiver() as live, courier() as running:
        for _ in range(30):
            await walk(store, dead.url)
        await dead.has_heard(16)
        await walk(store, live.url)
        running.wake()
        await live.has_heard(3, within_s=2)
        assert live.states() == ["SUBMITTED", "IN_PROGRESS", "SUCCESS"]
        assert len(dead.heard) == 16, "one host has at most its share of the tries"
        release.set()
        await dead.has_heard(90)


async def test_a_courier_that_stops_hands_back_what_had_no_answer(store: TaskStore, courier: Start, outbox: Outbox, clock: Clock) -> None:
    async def first_hangs(count: int) -> web.Response:
        if count == 0:
            await asyncio.sleep(60)
        return web.Response()

    async with Receiver(first_hangs) as hook:
        async with courier():
            await walk(store, hook.url)
            await hook.has_heard(1)
        async with courier():
            await hook.has_heard(4)
    assert hook.states() == ["SUBMITTED", "SUBMITTED", "IN_PROGRESS", "SUCCESS"]
    assert hook.heard[0].webhook_id == hook.heard[1].webhook_id


async def test_trouble_with_the_database_or_the_renderer_does_not_end_the_loop(
    store: TaskStore, outbox: Outbox, database: Database, clock: Clock, egress: Egress, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def sometimes(task: Task) -> Mapping[str, object]:
        if broken:
            raise KeyError("a bug")
        return render(task)

    async with Receiver() as hook:
        await database.write(lambda connection: connection.execute(text("alter table callbacks rename to elsewhere")).close())
        courier = Courier(outbox, sometimes, egress, clock=clock)
        await courier.start()
        async with asyncio.timeout(10):
            while "callbacks are not delivered" not in caplog.text:
                await asyncio.sleep(0.01)
        await database.write(lambda connection: connection.execute(text("alter table elsewhere rename to callbacks")).close())
        await walk(store, hook.url, steps=1)
        courier.wake()
        ((_, due, error),) = await settled(outbox, database, clock)
        assert error == "KeyError"
        broken, clock.now = False, due or 0
        courier.wake()
        await hook.has_heard(1)
        await courier.stop()
    levels = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(levels) == 2, "each trouble is told once"


async def test_what_was_heard_while_the_database_was_away_is_not_sent_twice(
    store: TaskStore, courier: Start, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()

    async def slow(_count: int) -> web.Response:
        await release.wait()
        return web.Response()

    async def rename(old: str, new: str) -> None:
        await database.write(lambda connection: connection.execute(text(f"alter table {old} rename to {new}")).close())

    async with Receiver(slow) as hook, courier():
        await walk(store, hook.url, steps=1)
        await hook.has_heard(1)
        await rename("callbacks", "elsewhere")
        release.set()
        async with asyncio.timeout(10):
            while "callbacks are not delivered" not in caplog.text:
                await asyncio.sleep(0.01)
        await rename("elsewhere", "callbacks")
        async with asyncio.timeout(10):
            while await database.read(lambda connection: connection.execute(text("select count(*) from callbacks")).scalar()):
                await asyncio.sleep(0.01)
        assert len(hook.heard) == 1


async def test_nothing_is_written_while_nothing_is_due(courier: Start, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    read = database.read

    async def note(work: Callable[[Connection], object]) -> object:
        reads.append(work)
        return await read(work)

    def refuse(work: object) -> object:
        raise AssertionError("a write")

    monkeypatch.setattr(database, "read", note)
    monkeypatch.setattr(database, "write", refuse)
    async with courier():
        await asyncio.sleep(0.6)
        assert reads


async def test_connections_are_used_again(store: TaskStore, egress: Egress) -> None:
    """Also where the answer has a body, which nobody reads for its own sake."""
    connections: set[object] = set()

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        connections.add(request.transport.get_extra_info("peername"))
        return web.Response(text='{"code": 1}' if request.path != "/large" else "x" * 10**6)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    for _ in range(5):
        assert await egress.post(f"{base}/hook", b"{}", {}, 5) == (200, None)
    assert len(connections) == 1
    assert await egress.post(f"{base}/large", b"{}", {}, 5) == (200, None)
    await runner.cleanup()


async def test_a_body_that_never_ends_does_not_hold_a_try_up(store: TaskStore, egress: Egress) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b".")
                await asyncio.sleep(0.05)
        return response

    app = web.Application()
    app.router.add_post("/hook", drip)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with asyncio.timeout(3):
        assert await egress.post(f"http://127.0.0.1:{runner.addresses[0][1]}/hook", b"{}", {}, 10) == (200, None)
    await runner.cleanup()


async def test_a_try_that_would_begin_after_its_lease_is_handed_back(
    store: TaskStore, outbox: Outbox, egress: Egress, clock: Clock
) -> None:
    """Somebody else may be at it, and further, by the time that it arrives."""
    late = [clock.now]

    async def signing_takes_long(_callback: Callback, _body: bytes) -> Mapping[str, str]:
        raise AssertionError("it is not made")

    def slow_clock() -> int:
        return late[0]

    async with Receiver() as hook:
        await walk(store, hook.url, steps=1)
        late[0] += 25_000
        courier = Courier(outbox, render, egress, sign=signing_takes_long, clock=slow_clock)
        await courier.start()
        await asyncio.sleep(0.5)
        await courier.stop()
        assert hook.heard == []
    assert await outbox.any_due()


async def test_calls_of_hooks_are_counted_by_what_became_of_them(
    store: TaskStore, courier: Start, database: Database, clock: Clock
) -> None:
    async def answer(count: int) -> web.Response:
        return web.Response(status=[503, 200, 404][min(count, 2)])

    recorded = Recorded()
    async with Receiver(answer) as hook, courier(record=recorded) as running:
        await walk(store, hook.url, steps=1)
        await all_heard(database, clock, running)
        await walk(store, hook.url, steps=1)
        async with asyncio.timeout(10):
            while not recorded.counted["hook_calls", "given_up"]:
                await asyncio.sleep(0.01)
    assert recorded.counted == {("hook_calls", outcome): 1 for outcome in ("failed", "delivered", "given_up")}
    (delay,) = recorded.every["hook_delay_seconds",]
    assert 0.5 <= delay < 10


async def test_a_hook_is_told_of_the_trace_that_its_task_came_with(store: TaskStore, courier: Start) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with Receiver() as hook, courier():
        for trace in (traceparent, None):
            await store.submit(replace(new(hook=hook.url), traceparent=trace), no_inputs)
            await claimed(store)
        heard = await hook.has_heard(2)
    assert {one.headers.get("traceparent") for one in heard} == {traceparent, None}
