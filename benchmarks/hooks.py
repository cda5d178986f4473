"""Dead hooks and those beside them: how soon a live hook hears although 1,000 dead ones come first, and what swapping loses to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from sqlalchemy import Connection, func, select, update

from benchmarks import latency
from benchmarks.deadhooks import KINDS, dead, names_that_nobody_answers_for
from benchmarks.result import Chart, Result
from benchmarks.service import serving
from serve_app.api.schema import task_json
from serve_app.egress.address import AddressPolicy
from serve_app.egress.client import Egress
from serve_app.tasks import outbox
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, now_ms, open_database
from serve_app.tasks.delivery import Courier
from serve_app.tasks.lanes import affordable
from serve_app.tasks.migrate import migrate
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.schema import callbacks
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask, Status, Task

DEAD = 1_000
LATEST_S = 2.0
LEAST_RATIO = 0.95
_PLACES = 2048
_CLIENTS = 4
_LOOPBACK = AddressPolicy((ip_network("127.0.0.0/8"),))
_SETTLE_S, _WINDOW_S = 1.0, 8.0
_FIRST_TRIES_S = 13.0  # until those that hang are known to
_DAY_MS = 10 * 24 * 3600 * 1000
_BEGAN = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """How the dead hooks of one kind are spread: over so many hosts, and over the tasks of so many keys."""

    kind: str
    hosts: int
    keys: int


def crowds(count: int) -> list[Crowd]:
    """The live hook is another host's in all of them, and its task is of a key that has dead ones as well, where there is one key."""
    return [Crowd(kind, hosts, keys) for kind in KINDS for hosts in (1, count) for keys in (1, count)]


async def until_heard(crowd: Crowd, count: int, limit_s: float = 30.0) -> float:
    """Seconds from when the courier starts, all callbacks being due and never tried, to when the live hook, owed last, has heard."""
    with tempfile.TemporaryDirectory(prefix="faceswap-hooks-") as folder, dead(crowd.kind) as url:
        migrate(file := Path(folder) / "tasks.db")
        database = open_database(file)
        egress = Egress(_LOOPBACK, connections=2 * _PLACES, lookups=2 * _PLACES)
        courier = Courier(Outbox(database), lambda task: task_json(task, None), egress, places=affordable(_PLACES))
        async with _live() as (live, heard):
            told = [_task(n, url(n % crowd.hosts), f"key{n % crowd.keys}") for n in range(count)]
            told.append(_task(count, live, f"key{count % crowd.keys}" if crowd.keys == 1 else "another"))

            def owe(connection: Connection) -> None:
                for task in told:
                    for status in (Status.SUBMITTED, Status.IN_PROGRESS):
                        outbox.record(connection, [replace(task, status=status)], now_ms())

            await database.write(owe)
            await egress.start()
            began = time.perf_counter()
            await courier.start()
            try:
                async with asyncio.timeout(limit_s):
                    await heard.wait()
                return time.perf_counter() - began
            except TimeoutError:
                return limit_s
            finally:
                await courier.stop()
                await egress.close()
                await database.close()


@contextlib.asynccontextmanager
async def _live() -> AsyncIterator[tuple[str, asyncio.Event]]:
    heard = asyncio.Event()

    async def hear(_: web.Request) -> web.Response:
        heard.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hear)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", heard
    finally:
        await runner.cleanup()


def _task(n: int, hook: str, owner: str) -> Task:
    return Task(f"{_BEGAN + n:013d}000", Status.SUBMITTED, 0, None, None, hook, None, "http://b", _BEGAN, owner=owner)


def live(chosen: list[Crowd], count: int) -> list[dict[str, Any]]:
    """How soon the live hook hears beside each crowd."""
    with _without_warnings(), names_that_nobody_answers_for():
        return [{**asdict(crowd), "s": round(asyncio.run(until_heard(crowd, count)), 2)} for crowd in chosen]


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Each dead hook makes one."""
    log = logging.getLogger("serve_app.tasks.delivery")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


async def carried(where: str | Path, blobs: Path, turns: int, seconds: float, count: int = DEAD) -> float:
    """What is left of the tasks a second that one process carries, when it tries so many dead hooks as well: the short form, no cluster.

    In turns with and without hooks that are due. The courier shares loop, database and processor with the tasks.
    """
    migrate(where)
    database, rates = open_database(where), {True: list[float](), False: list[float]()}
    store, egress = TaskStore(database, BlobStore(blobs)), Egress(_LOOPBACK, connections=2 * _PLACES, lookups=2 * _PLACES)
    with contextlib.ExitStack() as stack:
        stack.enter_context(names_that_nobody_answers_for())
        urls = [stack.enter_context(dead(kind)) for kind in KINDS]
        told = [_task(n, urls[n % len(urls)](n), f"key{n % 10}") for n in range(count)]
        await database.write(lambda connection: outbox.record(connection, told, now_ms()))
        await egress.start()
        courier = Courier(Outbox(database), lambda task: task_json(task, None), egress)
        await courier.start()
        await _carry(store, _FIRST_TRIES_S)
        for _ in range(turns):
            for retried in (False, True, True, False):
                await _shift(database, 0 if retried else _DAY_MS)
                await asyncio.sleep(_SETTLE_S)
                rates[retried].append(await _carry(store, seconds))
        await courier.stop()
        await egress.close()
    await database.close()
    return statistics.fmean(rates[True]) / statistics.fmean(rates[False])


async def _carry(store: TaskStore, seconds: float) -> float:
    """Tasks a second through all their commits, with 15 ms of work each, two at a time."""
    data, until, count = bytes(range(256)) * 4_000, time.perf_counter() + seconds, 0

    async def write(_: str) -> None: ...

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await store.submit(NewTask(None, None, None, None, "http://b"), write)
            task = await store.claim("bench", 30)
            assert task is not None
            await store.advance(task, 10)
            await asyncio.to_thread(zlib.compress, data, 6)
            await store.succeed(task, f"results/{task.id}.png", f"{task.id}.png", {})
            count += 1

    began = time.perf_counter()
    await asyncio.gather(work(), work())
    return count / (time.perf_counter() - began)


def throughput(windows: int, seconds: float, count: int = DEAD) -> dict[str, Any]:
    """Swaps a second of a whole service, in turns with and without so many dead hooks of all kinds that are retried."""
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(serving("--family", "builtin", environment={"FACESWAP_SECRET": ""}))
        urls = [stack.enter_context(dead(kind)) for kind in KINDS]
        file = service.log.parent / "tasks.db"
        return asyncio.run(_compare(service.base, file, [urls[n % len(urls)](n) for n in range(count)], windows, seconds))


async def _compare(base: str, file: Path, hooks: list[str], windows: int, seconds: float) -> dict[str, Any]:
    database = open_database(file)
    told = [_task(n, hook, f"key{n % 10}") for n, hook in enumerate(hooks)]
    rates: dict[bool, list[float]] = {True: [], False: []}
    tries = 0
    async with aiohttp.ClientSession() as session:
        await _swaps(session, base, 4.0)  # warm
        await database.write(lambda connection: outbox.record(connection, told, now_ms()))
        await _swaps(session, base, _FIRST_TRIES_S)
        for _ in range(windows):
            for retried in (False, True, True, False):
                await _shift(database, 0 if retried else _DAY_MS)
                await asyncio.sleep(_SETTLE_S)  # tries that are under way end
                before = await _attempts(database)
                rates[retried].append(await _swaps(session, base, seconds))
                tries += await _attempts(database) - before
    await database.close()
    rate = {retried: statistics.fmean(found) for retried, found in rates.items()}
    pairs = [on / off for on, off in zip(rates[True], rates[False], strict=True)]
    return {
        "dead": len(hooks),
        "tries_per_s": round(tries / (2 * windows * seconds), 1),
        "without_per_s": round(rate[False], 2),
        "with_per_s": round(rate[True], 2),
        "ratio": round(rate[True] / rate[False], 3),
        "pairs": [round(pair, 3) for pair in pairs],
    }


async def _shift(database: Database, later_ms: int) -> None:
    """Nothing is due for a day, or everything is that was put off so."""

    def work(connection: Connection) -> None:
        due, now = callbacks.c.due, now_ms()
        if later_ms:
            connection.execute(
                update(callbacks).where(due.is_not(None), due < now + later_ms, callbacks.c.trying == 0).values(due=due + later_ms)
            )
        else:
            connection.execute(update(callbacks).where(due > now + _DAY_MS // 2).values(due=due - _DAY_MS))

    await database.write(work)


async def _attempts(database: Database) -> int:
    query = select(func.coalesce(func.sum(callbacks.c.attempt), 0))
    return int(await database.read(lambda connection: connection.execute(query).scalar_one()))


async def _swaps(session: aiohttp.ClientSession, base: str, seconds: float) -> float:
    """Swaps a second: some clients, each of which asks for the next when it has one."""
    bodies, over, count = latency.Bodies(repeated=False), time.perf_counter() + seconds, 0

    async def client() -> None:
        nonlocal count
        while time.perf_counter() < over:
            await latency.finished(session, base, await latency.submit(session, base, next(bodies)))
            count += 1

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return count / (time.perf_counter() - began)


def run(seconds: float) -> Result:
    rows, swaps = live(crowds(DEAD), DEAD), throughput(max(1, round(seconds / (4 * (_WINDOW_S + _SETTLE_S)))), _WINDOW_S)
    missed = [f"{row['kind']} on {row['hosts']} hosts, {row['keys']} keys: {row['s']} s" for row in rows if row["s"] > LATEST_S]
    if swaps["ratio"] < LEAST_RATIO:
        missed.append(f"swaps fall to {swaps['ratio']:.1%}")
    points: dict[str, list[tuple[float | str, float]]] = {}
    for row in rows:
        points.setdefault(f"{row['hosts']:,} hosts, {row['keys']:,} keys", []).append((row["kind"], row["s"]))
    chart = Chart("when the live hook hears", "the dead ones", "seconds", points, "bars", limit=LATEST_S)
    return Result({"live": rows, "swaps": swaps}, table(rows, swaps), [chart], missed)


def table(rows: list[dict[str, Any]], swaps: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"A live hook, owed last, beside {DEAD:,} dead ones, none of them tried before; it may take {LATEST_S:g} s:",
            "",
            "| dead hooks | hosts | keys | the live one hears after |",
            "|---|---:|---:|---:|",
            *(f"| {row['kind']} | {row['hosts']:,} | {row['keys']:,} | {row['s']:.2f} s |" for row in rows),
            "",
            f"Swaps (built-in models, {_CLIENTS} clients) while {swaps['dead']:,} dead hooks are retried, {swaps['tries_per_s']} tries"
            " a second:"
            f" {swaps['with_per_s']} a second, without {swaps['without_per_s']}: **{swaps['ratio']:.1%}**; at least {LEAST_RATIO:.0%}.",
        ]
    )
