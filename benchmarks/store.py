"""What finished tasks cost those who ask, and waiting ones who claims.

The same calls on a store with few of them and on one with many, on both databases.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert

from benchmarks.result import Chart, Result
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, open_database
from serve_app.tasks.migrate import migrate
from serve_app.tasks.query import Query
from serve_app.tasks.room import Bounds
from serve_app.tasks.rows import to_values
from serve_app.tasks.schema import tasks
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Status, Task
from tests.postgres import Postgres, alone

FEW, MANY = 500, 50_000
MOST = 3.0
ROUND_S = 1.0  # about what one round of all calls takes
IDS = 500
UNFINISHED = 20
WAITING_KEYS = 100
OWNERS = ("a", "a", "a", "b")  # three of four tasks are of a
_BEGAN = 1_700_000_000_000
_FAR = 4_000_000_000_000
_CHUNK = 5_000

Call = Callable[[TaskStore], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Row:
    """Medians in milliseconds with FEW and with MANY finished tasks."""

    database: str
    call: str
    few_ms: float
    many_ms: float

    @property
    def ratio(self) -> float:
        return self.many_ms / self.few_ms


def run(seconds: float) -> Result:
    figures = measured(max(5, int(seconds / ROUND_S)))
    points = {
        f"{database}, {label}": [(row["call"], row[f"{side}_ms"]) for row in figures["rows"] if row["database"] == database]
        for database in ("SQLite", "PostgreSQL")
        for side, label in (("few", f"{FEW:,} finished"), ("many", f"{MANY:,} finished"))
    }
    return Result(figures, table(figures), [Chart("what a call takes", "call", "median, ms", points, "bars")], figures["missed"])


def measured(rounds: int, many: int = MANY) -> dict[str, Any]:
    """Fills and measures both databases. `missed` names what takes more than MOST times as long."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="faceswap-store-") as folder:
        files = [Path(folder) / f"{name}.db" for name in ("few", "many")]
        rows += alone(lambda: _measure("SQLite", list(files), rounds, many))
        files = [Path(folder) / f"{name}-waiting.db" for name in ("few", "many")]
        rows += alone(lambda: _measure_waiting("SQLite", list(files), rounds, many))
    server = Postgres()
    try:
        server.start()
        rows += alone(lambda: _measure("PostgreSQL", [server.create(), server.create()], rounds, many))
        rows += alone(lambda: _measure_waiting("PostgreSQL", [server.create(), server.create()], rounds, many))
    finally:
        server.close()
    figures = [{**asdict(row), "ratio": row.ratio} for row in rows]
    missed = [f"{row.database}, {row.call}: {row.ratio:.1f} times" for row in rows if row.ratio > MOST]
    return {"few": FEW, "many": many, "most": MOST, "rows": figures, "missed": missed}


def table(result: dict[str, Any]) -> str:
    lines = [f"| database | call | {result['few']:,} finished | {result['many']:,} finished | ratio |", "|---|---|---:|---:|---:|"]
    lines += [
        f"| {row['database']} | {row['call']} | {row['few_ms']:.2f} ms | {row['many_ms']:.2f} ms | {row['ratio']:.2f} |"
        for row in result["rows"]
    ]
    return "\n".join([*lines, "", f"No call may take more than {result['most']:g} times as long with many as with few."])


def calls() -> dict[str, Call]:
    """What clients and the service itself ask for all the time."""
    pages = {
        "page": Query(),
        "page of SUCCESS": Query(status=Status.SUCCESS),
        "page by finish_time": Query(sort="finish_time"),
        "page of SUCCESS by finish_time": Query(status=Status.SUCCESS, sort="finish_time"),
    }
    found: dict[str, Call] = {
        "fetch": lambda store: store.get(_some_ids(1)[0]),
        f"list of {IDS} ids": lambda store: store.get_many(_some_ids(IDS)),
        f"list of {IDS} ids of a key": lambda store: store.get_many(_some_ids(IDS), "a"),
        "queue": lambda store: store.unfinished(),
        "queue of a key": lambda store: store.unfinished("a"),
        "length of the queue": lambda store: store.count_unfinished(),
        "newest 100": lambda store: store.newest(),
        "room": _room,
        "nothing overdue": lambda store: store.fail_overdue(100),
        "claim and release": _claim,
    }
    for name, query in pages.items():
        found[name] = methodcaller("query", query)
        found[f"{name}, of a key"] = methodcaller("query", query, "a")
    return found


async def _room(store: TaskStore) -> None:
    """Measured anew each time."""
    store = TaskStore(store._database, store._blobs, clock=lambda: _BEGAN, bounds=Bounds())
    await store.room()


async def _claim(store: TaskStore) -> None:
    task = await store.claim("benchmark", 30.0)
    assert task is not None
    assert await store.release(task)


async def _measure(name: str, wheres: list[str | Path], rounds: int, many: int) -> list[Row]:
    databases = []
    for where, count in zip(wheres, (FEW, many), strict=True):
        migrate(where)
        databases.append(database := open_database(where))
        await fill(database, count)
    stores = [TaskStore(database, BlobStore(Path(tempfile.gettempdir()), make=False)) for database in databases]
    for store, database in zip(stores, databases, strict=True):
        await store.tidy()
        await _tidy(database)
    rows = [Row(name, call, *[1000 * seconds for seconds in await _compare(act, stores, rounds)]) for call, act in calls().items()]
    for database in databases:
        await database.close()
    return rows


async def _compare(act: Call, stores: list[TaskStore], rounds: int) -> list[float]:
    """In turns, so that both have the same share of whatever else the machine does."""
    took: list[list[float]] = [[] for _ in stores]
    for n in range(rounds + 3):
        for store, seconds in zip(stores, took, strict=True):
            began = time.perf_counter()
            await act(store)
            if n >= 3:  # statements are compiled and prepared, plans chosen
                seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in took]


async def _measure_waiting(name: str, wheres: list[str | Path], rounds: int, many: int) -> list[Row]:
    """What a claim costs where so many wait: of a few keys, and of WAITING_KEYS."""
    rows = []
    for keys in (1, WAITING_KEYS):
        databases = []
        for where, count in zip(wheres, (FEW, many), strict=True):
            migrate(where)
            databases.append(database := open_database(where))
            await database.write(lambda connection: connection.execute(delete(tasks)).close())
            owners = [f"key {n}" for n in range(keys)]
            for start in range(0, count, _CHUNK):
                some = waiting_rows(min(_CHUNK, count - start), owners, start)
                await database.write(partial(_insert, rows=some))
            await _tidy(database)
        stores = [TaskStore(database, BlobStore(Path(tempfile.gettempdir()), make=False)) for database in databases]
        took = [1000 * seconds for seconds in await _compare(_claim, stores, rounds)]
        rows.append(Row(name, f"claim and release, as many waiting of {keys} key{'s' * (keys > 1)}", *took))
        for database in databases:
            await database.close()
    return rows


def waiting_rows(number: int, owners: Sequence[str], first: int = 0) -> list[dict[str, object]]:
    """Tasks that wait, of these keys in turn."""
    return [{**_row(n, 0), "owner": owners[n % len(owners)]} for n in range(first, first + number)]


async def fill(database: Database, finished: int) -> None:
    """So many finished tasks, one in ten a FAILURE, and UNFINISHED that wait."""
    for start in range(0, finished + UNFINISHED, _CHUNK):
        some = [_row(n, finished) for n in range(start, min(start + _CHUNK, finished + UNFINISHED))]
        await database.write(partial(_insert, rows=some))


def _insert(connection: Connection, rows: list[dict[str, object]]) -> None:
    connection.execute(insert(tasks), rows)


async def _tidy(database: Database) -> None:
    """PostgreSQL's autovacuum comes within a minute; SQLite has nothing of the kind."""
    engine = getattr(database, "_engine", None)
    if engine is not None and engine.dialect.name == "postgresql":
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.exec_driver_sql("vacuum analyze tasks, tallies")


def _row(n: int, finished: int) -> dict[str, object]:
    now = _BEGAN + n * 500
    ended = n < finished
    status = (Status.FAILURE if n % 10 == 9 else Status.SUCCESS) if ended else Status.NOT_START
    task = Task(
        id_of(n),
        status,
        100 if status is Status.SUCCESS else 0,
        mode=None,
        state="some words that the client sent" if n % 2 else None,
        notify_hook="https://client.example/hook",
        instance_id=None,
        base_url="https://faces.example",
        submit_time=now,
        start_time=now + 20 if ended else None,
        finish_time=now + 2_000 + (n * 7919) % 3_000 if ended else None,  # not in the order of submission
        fail_reason="no face" if status is Status.FAILURE else None,
        result=f"results/{id_of(n)}-picture.png" if status is Status.SUCCESS else None,
        result_name=f"{id_of(n)}-{'x' * 22}.png" if status is Status.SUCCESS else None,
        properties={"times": {name: 12.5 for name in ("queue", "decode", "detect", "swap", "paste", "encode")}, "family": "builtin"},
        attempt=int(ended),
        fence=int(ended),
        owner=OWNERS[n % len(OWNERS)],
        deadline=now + 2_000 if ended else _FAR,
    )
    return dict(to_values(task))


def id_of(n: int) -> str:
    return f"{_BEGAN + n * 500:013d}{n % 1000:03d}"


def _some_ids(count: int) -> list[str]:
    """Of tasks that both stores have."""
    return [id_of(n) for n in random.sample(range(FEW), count)]
