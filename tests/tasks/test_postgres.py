"""What is true of PostgreSQL alone."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from benchmarks.store import fill
from serve_app.tasks import transitions
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import Database, DatabaseUnavailable, address, open_database
from serve_app.tasks.outbox import Outbox, Outcome, Verdict
from serve_app.tasks.postgres import PostgresDatabase
from serve_app.tasks.quota import count, day_of
from serve_app.tasks.store import TaskStore
from tests.postgres import PASSWORD, USER, Postgres
from tests.tasks.common import Clock, claimed, current, new, no_inputs, walk
from tests.tasks.databases import PostgresDatabases


@pytest.fixture
def where(postgres: Postgres) -> Iterator[str]:
    databases = PostgresDatabases(postgres)
    yield databases.make()
    databases.drop()


class Held:
    """A transaction that has done this much, and is committed when the block ends."""

    def __init__(self, database: Database, *statements: str | Callable[[Connection], object]) -> None:
        self._database, self._statements = database, statements

    async def __aenter__(self) -> Held:
        engine = self._database._engine  # type: ignore[attr-defined]
        self._connection = await engine.connect()
        for statement in self._statements:
            if isinstance(statement, str):
                await self._connection.execute(text(statement))
            else:
                await self._connection.run_sync(statement)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connection.commit()
        await self._connection.close()


def one(connection: Connection) -> int:
    return int(connection.execute(text("select 1")).scalar_one())


def setting(name: str, connection: Connection) -> str:
    return str(connection.execute(text("select current_setting(:name)"), {"name": name}).scalar_one())


async def test_levels_and_limits(database: Database) -> None:
    assert await database.write(partial(setting, "transaction_isolation")) == "read committed"
    assert await database.read(partial(setting, "transaction_isolation")) == "repeatable read"
    assert await database.read(partial(setting, "transaction_read_only")) == "on"
    assert await database.write(partial(setting, "transaction_read_only")) == "off", "a connection keeps nothing of its last use"
    limits = [await database.write(partial(setting, f"{name}_timeout")) for name in ("statement", "lock", "idle_in_transaction_session")]
    assert limits == ["15s", "10s", "30s"]
    with pytest.raises(DatabaseUnavailable):
        await database.read(lambda connection: connection.execute(text("delete from tasks")).close())


async def test_text_is_sorted_and_found_by_code_points_whatever_the_servers_locale(database: Database) -> None:
    query = text(
        "select table_name, column_name from information_schema.columns where table_schema = 'public' "
        "and data_type in ('text', 'character varying') and collation_name is distinct from 'C' and table_name <> 'alembic_version'"
    )
    assert await database.read(lambda connection: connection.execute(query).all()) == []


async def test_a_claim_passes_over_a_row_that_another_is_claiming(database: Database, other: Database, blobs: BlobStore) -> None:
    store = TaskStore(database, blobs)
    first, second = [(await store.submit(new(), no_inputs)).id for _ in range(2)]
    ids = sorted([first, second])
    async with asyncio.timeout(5), Held(other, f"select * from tasks where id = '{ids[0]}' for update"):
        assert (await claimed(store)).id == ids[1]
        assert await store.claim("worker", 30) is None
    assert (await claimed(store)).id == ids[0]


async def test_recovery_and_couriers_pass_over_what_another_has(
    database: Database, other: Database, blobs: BlobStore, store: TaskStore, outbox: Outbox
) -> None:
    task = await walk(store, steps=1)
    async with asyncio.timeout(5), Held(other, "select * from tasks for update", "select * from callbacks for update"):
        assert await outbox.claim_due(5, 30) == []
        await store.expire("nobody")
        assert await TaskStore(database, blobs, clock=lambda: 2**42).take_expired(5) == 0
    assert [callback.task.id for callback in await outbox.claim_due(5, 30)] == [task.id]


async def test_a_write_that_waited_sees_what_the_other_left(database: Database, other: Database, store: TaskStore) -> None:
    """READ COMMITTED: the row is compared again when its lock is had, so the late one is refused and nothing has to be repeated."""
    task = await store.submit(new(), no_inputs)
    task = await claimed(store)
    end = f"update tasks set finish_time = 1, lease_until = null, status = 'FAILURE', fail_reason = 'x' where id = '{task.id}'"
    async with Held(other, end):
        late = asyncio.create_task(store.succeed(task, "r", "n", {}))
        await asyncio.wait([late], timeout=0.2)
        assert not late.done()
    assert not await late
    assert (await current(store, task.id)).fail_reason == "x"


async def test_submits_of_one_key_are_counted_one_by_one(database: Database, other: Database) -> None:
    day = day_of(0)
    async with Held(other, f"insert into usage values ('a', '{day}', 1)"):
        second = asyncio.create_task(database.write(lambda connection: count(connection, "a", None, day)))
        await asyncio.wait([second], timeout=0.2)
        assert not second.done()
    await second
    found = await database.read(lambda connection: connection.execute(text("select submits from usage")).scalar_one())
    assert found == 2


async def test_a_state_that_comes_while_a_try_is_noted_is_the_only_one_left(
    database: Database, other: Database, store: TaskStore, outbox: Outbox
) -> None:
    """Otherwise an old state, whose try has failed, would hold back the end of the task."""
    await walk(store, steps=1)
    (tried,) = await outbox.claim_due(1, 30)
    note = Outcome(tried, Verdict.FAILED, retry_at=10**15, error="refused")
    async with Held(other, f"select * from tasks where id = '{tried.task.id}' for update"):
        noted = asyncio.create_task(outbox.settle([note]))
        await asyncio.wait([noted], timeout=0.2)
        assert not noted.done(), "it waits for whoever changes the task"
    await noted
    assert await store.cancel(tried.task.id)
    assert [callback.task.status for callback in await outbox.claim_due(5, 30)] == ["FAILURE"]


async def test_a_state_that_comes_while_the_one_before_is_heard_waits_for_no_lease(
    other: Database, store: TaskStore, outbox: Outbox, clock: Clock
) -> None:
    task = await walk(store, steps=1)
    (heard,) = await outbox.claim_due(1, 30)
    async with Held(other, lambda connection: transitions.advance(connection, task, 10, clock.now)):
        noted = asyncio.create_task(outbox.delivered(heard))
        await asyncio.wait([noted], timeout=0.2)
    await noted
    assert [callback.task.status for callback in await outbox.claim_due(5, 30)] == ["IN_PROGRESS"]


async def test_transactions_that_block_each_other_are_run_again(
    database: Database, other: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serve_app.tasks.postgres")
    rows = "insert into usage values ('a', 'd', 0), ('b', 'd', 0)"
    await database.write(lambda connection: connection.execute(text(rows)).close())
    arrived = {"a": 0, "b": 0}

    async def cross(database: Database, first: str, second: str) -> None:
        def work(connection: Connection) -> None:
            connection.execute(text("set local deadlock_timeout = '50ms'"))
            for key in (first, second):
                connection.execute(text("update usage set submits = submits + 1 where key_id = :key"), {"key": key})
                if key == first and arrived[first] == 0:
                    arrived[first] += 1
                    connection.execute(text("select pg_sleep(0.2)"))

        await database.write(work)

    await asyncio.gather(cross(database, "a", "b"), cross(other, "b", "a"))
    found = await database.read(lambda connection: connection.execute(text("select submits from usage")).scalars().all())
    assert found == [2, 2], "both counted, once each"
    assert "DeadlockDetectedError" in caplog.text


async def test_a_lock_that_is_never_let_go_is_not_waited_for_for_ever(where: str, other: Database) -> None:
    hasty = PostgresDatabase(address(where), wait_s=0.1, statement_s=0.2)
    async with Held(other, "lock table tasks in access exclusive mode"):
        with pytest.raises(DatabaseUnavailable, match="LockNotAvailable"):
            await hasty.write(lambda connection: connection.execute(text("delete from tasks")).close())
    with pytest.raises(DatabaseUnavailable, match="QueryCanceled"):
        await hasty.read(lambda connection: connection.execute(text("select pg_sleep(5)")).close())
    assert await hasty.write(one) == 1
    await hasty.close()


async def test_more_at_a_time_than_there_are_connections(where: str) -> None:
    narrow = PostgresDatabase(address(where), connections=2)
    assert await asyncio.gather(*(narrow.read(one) for _ in range(50))) == [1] * 50
    query = text("select count(*) from pg_stat_activity where application_name = 'faceswap' and datname = current_database()")
    assert await narrow.read(lambda connection: connection.execute(query).scalar_one()) <= 2
    impatient = PostgresDatabase(address(where), connections=1, wait_s=0.1)
    async with Held(impatient):
        with pytest.raises(DatabaseUnavailable, match="TimeoutError"):
            await impatient.read(one)
    await narrow.close()
    await impatient.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
async def test_a_restart_of_the_server_costs_errors_only_while_it_is_down(
    own_server: Postgres, tmp_path: Path, how: signal.Signals
) -> None:
    databases = PostgresDatabases(own_server)
    database = open_database(databases.make())
    store = TaskStore(database, BlobStore(tmp_path))
    tasks = await asyncio.gather(*(store.submit(new(), no_inputs) for _ in range(20)))  # so that several connections idle
    own_server.stop(how)
    own_server.start()
    found = await asyncio.gather(*(store.get(task.id) for task in tasks))
    assert found == list(tasks)
    own_server.stop(how)
    own_server.start()
    await asyncio.gather(*(store.claim("worker", 30) for _ in range(20)))
    assert await store.count_waiting() == 0, "each was claimed once"
    own_server.stop(how)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable) as raised:
            await store.submit(new(), no_inputs)
        assert not any(word in str(raised.value) for word in (USER, PASSWORD, str(own_server.port), "127.0.0.1"))
    own_server.start()
    assert (await store.submit(new(), no_inputs)).id
    assert await store.count_unfinished() == 21
    await database.close()


async def test_a_connection_that_dies_in_the_middle_is_not_a_half_done_transaction(database: Database, other: Database) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> None:
        connection.execute(text("insert into usage values ('a', 'd', 1)"))
        tries.append(connection.execute(text("select pg_backend_pid()")).scalar_one())
        if len(tries) == 1:
            connection.execute(text("select pg_terminate_backend(pg_backend_pid())"))

    await database.write(work)
    assert len(set(tries)) == 2
    assert await other.read(lambda connection: connection.execute(text("select count(*) from usage")).scalar_one()) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "hid den"}, "InvalidPasswordError"),
        ({"username": "hidden"}, "InvalidPasswordError"),
        ({"database": "hidden"}, "InvalidCatalogNameError"),
        ({"host": "hidden.invalid"}, "gaierror"),
        ({"port": 1}, "ConnectionRefusedError"),
    ],
)
async def test_what_is_wrong_with_the_address_is_said_without_it(
    where: str, wrong: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    database = PostgresDatabase(address(where).set(**wrong))  # type: ignore[arg-type]
    with pytest.raises(DatabaseUnavailable, match=said) as raised:
        await database.write(one)
    await database.close()
    texts = [str(raised.value), repr(raised.value), caplog.text, repr(database)]
    assert not any("hid" in words or PASSWORD in words for words in texts)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


async def test_a_mistake_of_ours_is_not_taken_for_an_outage(database: Database) -> None:
    with pytest.raises(DBAPIError, match="does not exist"):
        await database.read(lambda connection: connection.execute(text("select nothing from tasks")).close())


async def test_the_row_goes_before_its_callbacks(database: Database, other: Database, store: TaskStore) -> None:
    """In the other order, a delete and a cancel of one task would wait for each other."""
    task = await walk(store, steps=1)
    async with Held(other, f"select * from tasks where id = '{task.id}' for update"):
        gone = asyncio.create_task(database.write(partial(transitions.remove, ids=[task.id])))
        await asyncio.wait([gone], timeout=0.2)
        assert not gone.done()
        free = text("select count(*) from (select 1 from callbacks for update skip locked) found")
        assert await database.write(lambda connection: connection.execute(free).scalar_one()) == 1
    assert await gone
    assert not await database.read(lambda connection: connection.execute(text("select 1 from callbacks")).all())


async def test_statistics_of_a_busier_hour_do_not_make_looking_for_work_slow(database: Database, where: str) -> None:
    """As if everything had waited when PostgreSQL last looked. Reading the whole table, it would expect to find one at once."""
    await fill(database, 5_000)
    was = "update tasks set finish_time = {}, lease_until = null where status <> 'NOT_START'"
    await database.write(lambda connection: connection.execute(text(was.format("null"))).close())
    await database.write(lambda connection: connection.execute(text("analyze tasks")).close())
    await database.write(lambda connection: connection.execute(text(was.format("1"))).close())
    looking = "explain select exists (select * from tasks where finish_time is null and lease_until is null)"
    plan = await database.read(lambda connection: connection.execute(text(looking)).scalars().all())
    assert "Seq Scan" not in "\n".join(plan)
