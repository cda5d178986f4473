from __future__ import annotations

from dataclasses import replace

import pytest

from serve_app.api.schema import task_json
from serve_app.tasks.query import MAX_SIZE, SORTS, Query
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask, Status, Task
from tests.tasks.common import Clock, claimed, current, new, no_inputs


@pytest.fixture
async def made(store: TaskStore, clock: Clock) -> list[Task]:
    """Oldest first: succeeded (a), failed (b), running (a), waiting (b), waiting (a), all but the last an instance of their own."""
    ids = []
    for n, owner in enumerate("ababa"):
        asked = NewTask(None, f"room:{n % 2}", None, None if n == 4 else f"i{n}", "http://b", owner)
        ids.append((await store.submit(asked, no_inputs)).id)
        clock.tick(1)
    assert await store.succeed(await claimed(store), "results/a-a.png", "a.png", {})
    clock.tick(1)
    assert await store.fail(await claimed(store), "人脸 (source picture): 100% NO_face\\", {})
    await claimed(store)
    return [await current(store, id) for id in ids]


async def listed(store: TaskStore, made: list[Task], query: Query, owner: str | None = None) -> list[int]:
    page = await store.query(replace(query, sort="id", desc=False, size=MAX_SIZE), owner)
    assert page.total == len(page.tasks)
    return [made.index(task) for task in page.tasks]


async def test_unfinished_oldest_first(store: TaskStore, made: list[Task]) -> None:
    assert await store.unfinished() == made[2:]
    assert await store.unfinished("a") == [made[2], made[4]]
    assert await store.unfinished("b") == [made[3]]
    assert await store.unfinished("") == []
    assert await store.unfinished(limit=2) == made[2:4]
    assert await store.unfinished("a", limit=1) == [made[2]]


async def test_newest_first(store: TaskStore, made: list[Task]) -> None:
    assert await store.newest() == made[::-1]
    assert await store.newest("b") == [made[3], made[1]]
    assert await store.newest(limit=2) == [made[4], made[3]]


async def test_pages(store: TaskStore, made: list[Task]) -> None:
    first, second, third = [await store.query(Query(page=page, size=2)) for page in range(3)]
    assert [*first.tasks, *second.tasks, *third.tasks] == made[::-1]
    assert first.total == second.total == third.total == 5
    beyond = await store.query(Query(page=1_000_000_000, size=1000))
    assert (beyond.tasks, beyond.total) == ([], 5)
    of_b = await store.query(Query(size=1), "b")
    assert (of_b.tasks, of_b.total) == ([made[3]], 2)


@pytest.mark.parametrize(
    "bad", [{"page": -1}, {"page": 10**10}, {"size": 0}, {"size": 1001}, {"sort": "owner"}, {"sort": "id; drop table"}]
)
def test_a_page_that_cannot_be(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Query(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("sort", SORTS)
async def test_both_directions_of_every_sort_and_the_missing_come_first(store: TaskStore, made: list[Task], sort: str) -> None:
    up = (await store.query(Query(sort=sort, desc=False))).tasks
    assert up == (await store.query(Query(sort=sort))).tasks[::-1]
    values = [getattr(task, sort) for task in up]
    there = [value for value in values if value is not None]
    assert values == [None] * (len(values) - len(there)) + sorted(there)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), [0, 1, 2, 3, 4]),
        (Query(status=Status.SUCCESS), [0]),
        (Query(statuses=(Status.SUCCESS, Status.FAILURE)), [0, 1]),
        (Query(status=Status.NOT_START, statuses=(Status.SUCCESS,)), []),
        (Query(state="room:1"), [1, 3]),
        (Query(state="room"), []),
        (Query(instance_id="i2"), [2]),
        (Query(instance_id="i2' or 1=1 --"), []),
        (Query(action="SWAP_FACE"), [0, 1, 2, 3, 4]),
        (Query(action="IMAGINE"), []),
        (Query(prompt="insight"), [0, 1, 2, 3, 4]),
        (Query(prompt="a cat"), []),
        (Query(fail_reason="人脸"), [1]),
        (Query(fail_reason="SOURCE PICTURE"), [1]),
        (Query(fail_reason="100% no_FACE\\"), [1]),
        (Query(fail_reason="1_0"), []),
        (Query(fail_reason="%"), [1]),
        (Query(id="nope"), []),
        (Query(ids=("nope",)), []),
    ],
)
async def test_filters(store: TaskStore, made: list[Task], query: Query, found: list[int]) -> None:
    assert await listed(store, made, query) == found
    assert await listed(store, made, query, "a") == [n for n in found if n % 2 == 0]


async def test_filters_by_id(store: TaskStore, made: list[Task]) -> None:
    assert await listed(store, made, Query(id=made[1].id)) == [1]
    assert await listed(store, made, Query(id=made[1].id), "a") == []
    assert await listed(store, made, Query(ids=[made[0].id, made[3].id, "nope"])) == [0, 3]
    assert await listed(store, made, Query(description=f"/swap {made[4].id}")) == [4]
    assert await listed(store, made, Query(description=made[4].id[3:])) == [4]


async def test_tasks_are_found_by_what_clients_see_of_them(store: TaskStore, made: list[Task]) -> None:
    shown = task_json(made[0], None)
    words = {name: str(shown[name]) for name in ("id", "action", "description", "prompt", "state")}
    assert 0 in await listed(store, made, Query(**words))  # type: ignore[arg-type]


async def test_ten_thousand_ids_at_once(store: TaskStore) -> None:
    task = await store.submit(new(), no_inputs)
    page = await store.query(Query(ids=[task.id, *(str(n) for n in range(10_000))]))
    assert page.tasks == [task]
