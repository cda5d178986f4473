"""Keys: who may ask, and how much. A key is known by the hash of its token; the token is shown once and kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from serve_app.tasks.database import Database, now_ms
from serve_app.tasks.quota import Quota as Quota
from serve_app.tasks.quota import day_of
from serve_app.tasks.schema import keys, tasks, unfinished, usage
from serve_app.tasks.shared import Shared

Role: TypeAlias = Literal["user", "admin"]
State: TypeAlias = Literal["active", "expired", "revoked"]

MOST_WEIGHT = 1000

_FRESH_MS = 5_000
_LABEL = re.compile(r"[^\x00-\x1f\x7f]{0,200}")

_ALL = select(keys).order_by(keys.c.created, keys.c.id)
_INSERT = insert(keys)
_REVOKE = (
    update(keys)
    .where(keys.c.id == bindparam("this_id"))
    .values(revoked=func.coalesce(keys.c.revoked, bindparam("now")))  # the first time is the one that counts
)
_SET_SECRET = update(keys).where(keys.c.id == bindparam("this_id")).values(hook_secret=bindparam("secret"))
_SET_WEIGHT = update(keys).where(keys.c.id == bindparam("this_id")).values(weight=bindparam("new_weight"))
_USED = select(usage.c.key_id, func.sum(usage.c.submits)).group_by(usage.c.key_id)
_USED_TODAY = select(usage.c.key_id, usage.c.submits).where(usage.c.day == bindparam("this_day"))
_UNFINISHED = select(tasks.c.owner, func.count()).where(unfinished).group_by(tasks.c.owner)


@dataclass(frozen=True, slots=True)
class Key:
    """One key, without its token. Times are milliseconds since the epoch; expires None: never, revoked None: not.

    id: what its tasks carry as their owner. label: for people. role: an admin sees everybody's tasks. hook_secret: what its callbacks
    are signed with, see Signer. weight: its share of the claims while others have tasks waiting too.
    """

    id: str
    label: str
    role: Role
    quota: Quota
    created: int
    expires: int | None
    revoked: int | None
    hook_secret: str | None = field(default=None, repr=False)
    weight: int = 1

    def state(self, now: int) -> State:
        """Only an active key may ask for anything."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class KeyUse(NamedTuple):
    """A key, its submits of today and of all days, and its unfinished tasks."""

    key: Key
    today: int
    total: int
    unfinished: int


_Known: TypeAlias = list[tuple[str, Key]]  # by digest
KeyUses: TypeAlias = list[KeyUse]


class KeyRing:
    """All keys. What `find` and `any` say is at most 5 s old, so that a key that another process made or revoked is soon known here.

    Use one on one event loop. `clock` gives milliseconds since the epoch.
    """

    def __init__(self, database: Database, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._clock = clock
        self._known: Shared[_Known] = Shared(lambda: database.read(_read), _FRESH_MS, clock)

    async def create(
        self,
        label: str,
        role: Role = "user",
        daily: int | None = None,
        concurrent: int | None = None,
        expires: int | None = None,
        hook_secret: str | None = None,
        weight: int = 1,
    ) -> tuple[Key, str]:
        """A new key and its token, which can never be had again. Raises ValueError for limits or a time that no submit could meet.

        `hook_secret`: as `secret.checked` returned it.
        """
        now = self._clock()
        _check(label, role, daily, concurrent, expires, now)
        _check_weight(weight)
        # The id is public and says nothing about the token.
        key = Key(secrets.token_hex(6), label, role, Quota(daily, concurrent), now, expires, None, hook_secret, weight)
        token = "fs-" + secrets.token_urlsafe(32)
        values = {
            "id": key.id,
            "digest": _digest(token),
            "label": label,
            "role": role,
            "daily": daily,
            "concurrent": concurrent,
            "created": now,
            "expires": expires,
            "hook_secret": hook_secret,
            "weight": weight,
        }
        await self._database.write(lambda connection: connection.execute(_INSERT, values).close())
        self._known.forget()  # here it is known at once
        return key, token

    async def find(self, token: str) -> Key | None:
        """The key of this token, also one that is expired or revoked: see `Key.state`."""
        digest, found = _digest(token), None
        for known, key in await self._known.get():  # all of them, so that the time tells nothing about where the right one stands
            if hmac.compare_digest(known, digest):
                found = key
        return found

    async def any(self) -> bool:
        """Was there ever a key? A service whose keys are all revoked is closed, not open."""
        return bool(await self._known.get())

    async def revoke(self, id: str) -> bool:
        """From now on the key opens nothing; its tasks go on. False when there is no such key."""
        values = {"this_id": id, "now": self._clock()}
        known = await self._database.write(lambda connection: connection.execute(_REVOKE, values).rowcount == 1)
        self._known.forget()
        return known

    async def hook_secret(self, id: str) -> str | None:
        """What callbacks of this key's tasks are signed with, also once it is revoked: its tasks go on."""
        return next((key.hook_secret for _, key in await self._known.get() if key.id == id), None)

    async def set_hook_secret(self, id: str, secret: str | None) -> bool:
        """`secret` as `secret.checked` returned it, None for none. False when there is no such key."""
        values = {"this_id": id, "secret": secret}
        known = await self._database.write(lambda connection: connection.execute(_SET_SECRET, values).rowcount == 1)
        self._known.forget()
        return known

    async def set_weight(self, id: str, weight: int) -> bool:
        """From the next claim on. False when there is no such key; raises ValueError for a weight that is none."""
        _check_weight(weight)
        values = {"this_id": id, "new_weight": weight}
        known = await self._database.write(lambda connection: connection.execute(_SET_WEIGHT, values).rowcount == 1)
        self._known.forget()
        return known

    async def list(self) -> KeyUses:
        """All keys, oldest first, and what they were used for."""
        today = day_of(self._clock())
        return await self._database.read(lambda connection: _uses(connection, today))


def _check(label: str, role: str, daily: int | None, concurrent: int | None, expires: int | None, now: int) -> None:
    if not _LABEL.fullmatch(label):
        raise ValueError("a label has at most 200 characters, on one line")
    if role not in ("user", "admin"):
        raise ValueError("a role is user or admin")
    if any(limit is not None and not 1 <= limit < 2**31 for limit in (daily, concurrent)):
        raise ValueError("a limit is a whole number from 1; leave it out for none")
    if expires is not None and expires <= now:
        raise ValueError("the key would have expired already")


def _check_weight(weight: int) -> None:
    if not 1 <= weight <= MOST_WEIGHT:
        raise ValueError(f"a weight is a whole number from 1 to {MOST_WEIGHT}")


def _uses(connection: Connection, today: str) -> KeyUses:
    total: dict[str, int] = {row[0]: int(row[1]) for row in connection.execute(_USED)}
    on_day: dict[str, int] = {row[0]: row[1] for row in connection.execute(_USED_TODAY, {"this_day": today})}
    open_tasks: dict[str, int] = {row[0]: row[1] for row in connection.execute(_UNFINISHED)}
    return [KeyUse(key, on_day.get(key.id, 0), total.get(key.id, 0), open_tasks.get(key.id, 0)) for _, key in _read(connection)]


def _read(connection: Connection) -> _Known:
    return [(row.digest, _key(row)) for row in connection.execute(_ALL)]


def _key(row: Row[Any]) -> Key:
    return Key(
        row.id, row.label, row.role, Quota(row.daily, row.concurrent), row.created, row.expires, row.revoked, row.hook_secret, row.weight
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
