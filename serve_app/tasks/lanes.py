"""Which callbacks are tried next, so that no hook is in another's way.

A lane is a host as one key's tasks name it. What is known of lanes is in the memory of one process: a new one learns it again by trying.
"""

from __future__ import annotations

import math
import random
import resource
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from serve_app.tasks.clock import DAY_MS, HOUR_MS
from serve_app.tasks.outbox import Due, GivenUp, PutOff

Lane: TypeAlias = tuple[str, str]  # id of the key, host and port

LONGEST_WAIT_MS = HOUR_MS
_QUICK_S = 0.5
_TROUBLED = 5  # failures in a row; one is enough for a lane that never answered
_PROBE_MS, _LONGEST_PROBE_MS = 500, 30_000
# Not 2: where every other try fails, one of some hundred states would wait for minutes (docs/decisions/0046).
_GROWTH = 1.5
_LONGEST_ASKED_MS = 60_000  # one answer may ask so long for the whole lane
_PROBES_A_SECOND, _PROBES_AT_ONCE = 10.0, 20.0
_SHARE = 4  # of the free places: one owner alone may have four fifths, each of two four ninths
_KEPT_A_LANE, _KEPT = 8, 64
_KNOWN = 20_000


@dataclass(frozen=True, slots=True)
class Places:
    """How many tries there may be at a time. quick: that are younger than half a second, so that those that hang are not in the way.

    total: of any age. lane, host: of any age, of one lane and of one host.
    """

    quick: int = 2048
    total: int = 4096
    lane: int = 16
    host: int = 64


def affordable(quick: int) -> Places:
    """As many again that hang, but for both together no more than half of the files that this process may have open."""
    most = max(2, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    return Places(min(quick, most // 2), min(2 * quick, most))


@dataclass(frozen=True, slots=True, eq=False)
class Try:
    """One that is under way."""

    lane: Lane
    began: float


class Plan(NamedTuple):
    """What becomes of rows that are due. more: whether there is, or may be, more to try than this."""

    take: list[Due]
    put_off: list[PutOff]
    given_up: list[GivenUp]
    more: bool

    @property
    def empty(self) -> bool:
        return not (self.take or self.put_off or self.given_up)


@dataclass(slots=True)
class _Health:
    """failures: in a row, the first of them at `since`. pauses: that were made for them, the last of them from `paused` on (in ticks).
    answered: whether it ever did. probe_at: no try before that in trouble.
    """

    failures: int = 0
    since: int = 0
    pauses: int = 0
    paused: float = -math.inf
    answered: bool = False
    probe_at: int = 0
    error: str = ""

    @property
    def trouble(self) -> int:
        """How many failures are enough for it."""
        return _TROUBLED if self.answered else 1

    @property
    def troubled(self) -> bool:
        return self.failures >= self.trouble


@dataclass(slots=True)
class _Counts:
    """Tries under way, by what bounds them."""

    total: int
    quick: int = 0
    lanes: Counter[Lane] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)
    owners: Counter[str] = field(default_factory=Counter)  # the quick ones

    def add(self, lane: Lane, *, quick: bool) -> None:
        self.lanes[lane] += 1
        self.hosts[lane[1]] += 1
        if quick:
            self.quick += 1
            self.owners[lane[0]] += 1


class Lanes:
    """Health of lanes, and tries under way.

    A lane in trouble gets one try at a time, each after a longer pause, of up to half a minute. All lanes in trouble together get ten a
    second, those first that failed least, so that dead hooks cost little however many there are. What comes due there meanwhile is put
    off in proportion to its age, or to that of the trouble where it is shorter, as if it had been tried in vain.

    Where places are short, they go round between owners and lanes, and one owner never has all of them.
    """

    def __init__(self, places: Places | None = None, *, ticks: Callable[[], float] = time.monotonic) -> None:
        self._places = places or Places()
        self._ticks = ticks
        self._tries: set[Try] = set()
        self._health: OrderedDict[Lane, _Health] = OrderedDict()
        self._probes, self._refilled = _PROBES_AT_ONCE, ticks()

    @property
    def full(self) -> bool:
        return len(self._tries) >= self._places.total

    def begin(self, lane: Lane) -> Try:
        begun = Try(lane, self._ticks())
        self._tries.add(begun)
        return begun

    def returned(self, begun: Try) -> None:
        """It says nothing about its lane."""
        self._tries.discard(begun)

    def answered(self, begun: Try) -> None:
        self._tries.discard(begun)
        health = self._of(begun.lane)
        health.failures, health.pauses, health.answered = 0, 0, True

    def failed(self, begun: Try, error: str, now: int, asked_ms: int = 0) -> None:
        """`asked_ms`: how long the receiver asked to be left alone. Tries that were under way together make one pause, however many they
        are: the others say nothing that the first did not.
        """
        self._tries.discard(begun)
        health = self._of(begun.lane)
        health.since = health.since if health.failures else now
        health.failures += 1
        health.error = error
        if health.troubled and begun.began >= health.paused:
            health.probe_at = max(health.probe_at, now + backoff_ms(_PROBE_MS, health.pauses, _LONGEST_PROBE_MS))
            health.pauses += 1
            health.paused = self._ticks()
        health.probe_at = max(health.probe_at, now + min(asked_ms, _LONGEST_ASKED_MS))

    def plan(self, due: Sequence[Due], now: int, *, most: int, all_seen: bool) -> Plan:
        """What to try now, at most `most`, and what to put off. `all_seen`: nothing else is due."""
        counts, plan = self._count(), Plan([], [], [], more=False)
        crowded: list[Due] = []
        full = False
        for row in self._in_turn(due):
            lane = row.owner, row.host
            health = self._health.get(lane, _Health())
            if health.troubled:
                if not self._may_probe(lane, health, counts, now) or len(plan.take) >= most:
                    _leave(plan, row, health, now)
                    continue
                self._probes -= 1
            elif full or len(plan.take) >= most or counts.total >= self._places.total or counts.quick >= self._places.quick:
                full = True
                continue
            elif not self._has_room(lane, counts):
                crowded.append(row)
                continue
            plan.take.append(row)
            counts.total += 1
            counts.add(lane, quick=True)
        if not all_seen:
            plan.put_off.extend(_make_way(crowded, now))
        return plan._replace(more=full or not all_seen)

    def _of(self, lane: Lane) -> _Health:
        health = self._health.setdefault(lane, _Health())
        self._health.move_to_end(lane)
        while len(self._health) > _KNOWN:
            self._health.popitem(last=False)
        return health

    def _count(self) -> _Counts:
        self._refill()
        counts, young = _Counts(len(self._tries)), self._ticks() - _QUICK_S
        for begun in self._tries:
            counts.add(begun.lane, quick=begun.began > young)
        return counts

    def _refill(self) -> None:
        now = self._ticks()
        self._probes = min(_PROBES_AT_ONCE, self._probes + (now - self._refilled) * _PROBES_A_SECOND)
        self._refilled = now

    def _in_turn(self, due: Sequence[Due]) -> list[Due]:
        """Lanes that failed least, then the first of each lane before the second of any, and likewise of owners."""
        of_lane: Counter[Lane] = Counter()
        of_owner: Counter[str] = Counter()
        keyed = []
        for row in due:
            lane = row.owner, row.host
            health = self._health.get(lane)
            failures = health.failures if health and health.troubled else 0
            keyed.append((failures, of_lane[lane], of_owner[row.owner], row.due, row))
            of_lane[lane] += 1
            of_owner[row.owner] += 1
        keyed.sort(key=lambda key: key[:4])
        return [key[4] for key in keyed]

    def _may_probe(self, lane: Lane, health: _Health, counts: _Counts, now: int) -> bool:
        room = counts.total < self._places.total and counts.hosts[lane[1]] < self._places.host
        return now >= health.probe_at and not counts.lanes[lane] and self._probes >= 1 and room

    def _has_room(self, lane: Lane, counts: _Counts) -> bool:
        if counts.lanes[lane] >= self._places.lane or counts.hosts[lane[1]] >= self._places.host:
            return False
        return counts.owners[lane[0]] < _SHARE * (self._places.quick - counts.quick)


def backoff_ms(first_ms: int, before: int, longest_ms: int) -> int:
    """The pause after a failure that had so many others before it, with jitter: at most the half of it."""
    return int(min(first_ms * _GROWTH ** min(before, 40), longest_ms) * random.uniform(0.5, 1.0))


def _leave(plan: Plan, row: Due, health: _Health, now: int) -> None:
    """A row of a lane in trouble has its turn without a try."""
    if now - row.created > DAY_MS:
        plan.given_up.append(GivenUp(row, health.error))
    else:
        pause = _pause(min(now - row.created, now - health.since))  # a short trouble does not hold up what is old
        plan.put_off.append(PutOff(row, max(health.probe_at, now + pause), health.error))


def _make_way(crowded: Sequence[Due], now: int) -> list[PutOff]:
    """What has no place for its own lane's, host's or owner's sake, but for the first, so that others are seen behind it."""
    kept: Counter[object] = Counter()
    found = []
    for row in crowded:
        of = {("lane", row.owner, row.host): _KEPT_A_LANE, ("owner", row.owner): _KEPT, ("host", row.host): _KEPT}
        if all(kept[name] < most for name, most in of.items()):
            kept.update(of.keys())
        else:
            found.append(PutOff(row, now + _pause(now - row.created)))
    return found


def _pause(age_ms: int) -> int:
    """Milliseconds: about half of the age, so that each pause is half as long again as the one before."""
    return int(min(max(age_ms, 1_000) * random.uniform(0.25, 0.75), LONGEST_WAIT_MS))
