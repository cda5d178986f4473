"""Whose task is next: interactive ones before relaxed ones, and among those keys in turn, by their weights.

Each key has an account in each of the two classes. A claim begins where the account stands and moves it on by 1 / weight; the key whose
account stands furthest back is next, and the older task where two stand alike. So of keys that always have something waiting each gets
claims in proportion to its weight, however many tasks it has there. A key that had nothing waiting meanwhile is brought up to where the
last claim of the class began: it saves nothing up, and owes nothing for tasks that were cancelled or overdue before their turn.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Integer, Select, and_, bindparam, case, func, literal, select, tuple_, union_all
from sqlalchemy.dialects import postgresql, sqlite

from serve_app.tasks.rows import deadline
from serve_app.tasks.schema import keys, tasks, turns, waiting
from serve_app.tasks.task import INTERACTIVE, RELAX

RELAX_EVERY = 10  # claims, of which one takes a relaxed task first: or interactive ones would let it wait until its deadline

_MOST = 20  # keys to try, of those whose tasks others are claiming in this very moment
_OLDER = 1  # what a release that let fast and turbo go first gave those

# Of what waits. As an expression it is no range of the index of deadlines: by that one, a claim would sort all that wait.
in_time = and_(waiting, deadline > bindparam("now"))

_IN_TURN = tasks.c.priority, tasks.c.owner, tasks.c.id  # the index `tasks_turns`


class Asked(NamedTuple):
    """How a database is asked for rows of the index `tasks_turns`, so that it uses that one and reads none too many.

    ranges: by comparing whole rows. Told that columns equal something, PostgreSQL takes an index of other columns for as good, and reads
    all that another key has waiting; SQLite on the other hand compares only the first of the columns by the index.
    """

    ranges: bool

    def oldest(self, priority: Any, owner: Any) -> Select[Any]:
        """The id of the oldest task of a key, of those with this priority, that waits and is in time. Columns or parameters."""
        there = and_(tasks.c.priority == priority, tasks.c.owner == owner)
        if self.ranges:
            key, this = tuple_(tasks.c.priority, tasks.c.owner), tuple_(priority, owner)
            there = and_(key >= this, key <= this)
        return select(tasks.c.id).where(in_time, there).order_by(*_IN_TURN).limit(1)

    def owner(self, priority: Any, *, after: Any = None) -> Any:
        """The first key that has something waiting with this priority, by its id; or the next one."""
        kind, owner = tasks.c.priority, tasks.c.owner
        if self.ranges:
            begin = kind >= priority if after is None else tuple_(kind, owner) > tuple_(priority, after)
            there = and_(begin, kind <= priority)
        else:
            there = kind == priority if after is None else and_(kind == priority, owner > after)
        return select(tasks.c.owner).where(waiting, there).order_by(*_IN_TURN).limit(1).scalar_subquery()


ASKED = {"sqlite": Asked(ranges=False), "postgresql": Asked(ranges=True)}


def _of_class(priority: int, kind: int) -> Any:
    """One row: tasks with this priority are of that class, and where its last claim began."""
    clock = select(func.coalesce(func.max(turns.c.last), 0.0)).where(turns.c.priority == kind).scalar_subquery()
    return select(literal(priority, Integer).label("priority"), literal(kind, Integer).label("kind"), clock.label("clock"))


def _choose(asked: Asked) -> Any:
    """The keys that have something waiting, best first. From key to key by the index `tasks_turns`, so what one key has costs nothing."""
    of = union_all(_of_class(_OLDER, INTERACTIVE), _of_class(INTERACTIVE, INTERACTIVE), _of_class(RELAX, RELAX)).subquery()
    first = asked.owner(of.c.priority)
    found = select(of.c.priority, of.c.kind, of.c.clock, first.label("owner")).cte("found", recursive=True)
    same = found.c.priority, found.c.kind, found.c.clock
    after = asked.owner(found.c.priority, after=found.c.owner)
    found = found.union_all(select(*same, after).where(found.c.owner.is_not(None)))

    head = asked.oldest(found.c.priority, found.c.owner).scalar_subquery()
    heads = select(found, head.label("id")).where(found.c.owner.is_not(None)).subquery()
    begin = case((turns.c.next > heads.c.clock, turns.c.next), else_=heads.c.clock)
    step = 1.0 / func.coalesce(keys.c.weight, 1)
    return (
        select(heads.c.priority, heads.c.owner, heads.c.kind, begin.label("begin"), step.label("step"))
        .select_from(heads)
        .outerjoin(turns, and_(turns.c.priority == heads.c.kind, turns.c.owner == heads.c.owner))
        .outerjoin(keys, keys.c.id == heads.c.owner)
        .where(heads.c.id.is_not(None))
        .order_by((heads.c.kind * bindparam("sign", type_=Integer)).desc(), begin, heads.c.id)
        .limit(_MOST)
    )


def _moved_on(dialect: Any) -> Any:
    """Another claim of the key may have been committed since the choice: then this one begins where that one ended."""
    insert = dialect.insert(turns)
    begin = case((turns.c.next > insert.excluded.last, turns.c.next), else_=insert.excluded.last)
    return insert.on_conflict_do_update(
        index_elements=["priority", "owner"], set_={"last": begin, "next": begin + (insert.excluded.next - insert.excluded.last)}
    )


_CHOOSE = {name: _choose(asked) for name, asked in ASKED.items()}
_MOVE_ON = {"sqlite": _moved_on(sqlite), "postgresql": _moved_on(postgresql)}


class Turn(NamedTuple):
    """A key's turn to have a task claimed, of those with this `priority`. kind: the class, INTERACTIVE or RELAX. begin: where its account
    stands; step: by how much the claim moves it on.
    """

    priority: int
    owner: str
    kind: int
    begin: float
    step: float


def choose(connection: Connection, now: int, *, relax_first: bool) -> list[Turn]:
    """The keys that have a task waiting that is in time, best first; at most 20 of them."""
    found = connection.execute(_CHOOSE[connection.dialect.name], {"now": now, "sign": -1 if relax_first else 1})
    return [Turn(*row) for row in found]


def move_on(connection: Connection, turn: Turn) -> None:
    """The turn was taken. Last in its transaction: other claims of the same key wait from here to its commit."""
    values = {"priority": turn.kind, "owner": turn.owner, "last": turn.begin, "next": turn.begin + turn.step}
    connection.execute(_MOVE_ON[connection.dialect.name], values).close()
