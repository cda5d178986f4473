from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import func, select

from serve_app.tasks.database import Database, open_database
from serve_app.tasks.query import Query
from serve_app.tasks.schema import tallies
from serve_app.tasks.store import TaskStore
from serve_app.tasks.tallies import add_up
from serve_app.tasks.task import Status
from tests.tasks.common import claimed, new, no_inputs

ROWS = select(func.count()).select_from(tallies)


async def rows(database: Database) -> int:
    return await database.read(lambda connection: connection.execute(ROWS).scalar_one())


async def total(store: TaskStore, status: Status, owner: str | None = None) -> int:
    return (await store.query(Query(status=status), owner)).total


async def test_every_way_to_an_end_and_out_of_the_table_is_counted(store: TaskStore, database: Database) -> None:
    made = [await store.submit(new(owner=owner), no_inputs) for owner in "aabbb"]
    assert await rows(database) == 0
    first, second = await claimed(store), await claimed(store)
    assert await store.succeed(first, "results/a-a.png", "a.png", {})
    assert await store.fail(second, "no face", {})
    other = next(task for task in made if task.id not in (first.id, second.id))
    await store.cancel(other.id)
    assert [await total(store, status) for status in (Status.SUCCESS, Status.FAILURE)] == [1, 2]
    of_owners = {owner: [task.owner for task in (second, other)].count(owner) for owner in "abc"}
    assert {owner: await total(store, Status.FAILURE, owner) for owner in "abc"} == of_owners
    kept = len({(first.owner, "SUCCESS"), (second.owner, "FAILURE"), (other.owner, "FAILURE")})
    for _ in range(2):
        await database.write(add_up)
        assert await rows(database) == kept
        assert [await total(store, status) for status in (Status.SUCCESS, Status.FAILURE)] == [1, 2]
    for task in made:
        await store.delete(task.id)
    await database.write(add_up)
    assert await rows(database) == 0
    assert await total(store, Status.SUCCESS) == 0


async def test_what_does_not_commit_is_not_counted(store: TaskStore) -> None:
    await store.submit(new(), no_inputs)
    late = await claimed(store)
    assert await store.succeed(late, "results/a-a.png", "a.png", {})
    assert not await store.fail(late, "again", {})
    assert [await total(store, status) for status in (Status.SUCCESS, Status.FAILURE)] == [1, 0]


async def test_adding_up_beside_writers_and_beside_itself_loses_nothing(where: str | Path, store: TaskStore, database: Database) -> None:
    other = open_database(where)

    async def end_some() -> None:
        for _ in range(40):
            task = await store.submit(new(), no_inputs)
            await store.cancel(task.id)

    async def tidy(database: Database) -> None:
        most = 0
        while not ending.done():
            await database.write(add_up)
            found = await total(store, Status.FAILURE)
            assert found >= most
            most = found

    async def end_all() -> None:
        await asyncio.gather(*(end_some() for _ in range(5)))

    ending = asyncio.create_task(end_all())
    await asyncio.gather(ending, tidy(database), tidy(other))
    assert await total(store, Status.FAILURE) == 200
    await database.write(add_up)
    assert await rows(database) == 1
    await other.close()


async def test_tidying_is_done_when_it_is_worth_it(store: TaskStore, database: Database) -> None:
    some = [{"owner": f"{n % 200}", "status": "SUCCESS", "number": 1} for n in range(650)]
    await database.write(lambda connection: connection.execute(tallies.insert(), some).close())
    await store.tidy()
    assert await rows(database) == 650, "200 of them would stay"
    await database.write(lambda connection: connection.execute(tallies.insert(), some).close())
    await store.tidy()
    assert await rows(database) == 200
    assert await total(store, Status.SUCCESS, "7") == 8
