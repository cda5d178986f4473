"""tasks/lanes.py: who is tried next."""

from __future__ import annotations

import random
import statistics
from collections import Counter

import pytest

from serve_app.tasks.clock import DAY_MS, HOUR_MS
from serve_app.tasks.lanes import Lanes, Places, Plan, Try, affordable, backoff_ms
from serve_app.tasks.outbox import Due

NOW = 1_700_000_000_000


class Ticks:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


def row(n: int, host: str = "a", owner: str = "", created: int = NOW) -> Due:
    return Due(f"{n:016d}", 1, host, owner, created, NOW + n, 0)


def plan(lanes: Lanes, due: list[Due], now: int = NOW, most: int = 10_000, all_seen: bool = True) -> Plan:
    return lanes.plan(due, now, most=most, all_seen=all_seen)


def tried(lanes: Lanes, due: list[Due]) -> list[Due]:
    """What is planned is begun."""
    taken = plan(lanes, due).take
    for one in taken:
        lanes.begin((one.owner, one.host))
    return taken


def fail(lanes: Lanes, host: str, times: int = 1, owner: str = "", asked_ms: int = 0) -> None:
    for _ in range(times):
        lanes.failed(lanes.begin((owner, host)), "HTTP 500", NOW, asked_ms)


def test_a_lane_and_a_host_have_no_more_than_their_share(ticks: Ticks) -> None:
    lanes = Lanes(Places(lane=3, host=5), ticks=ticks)
    taken = tried(lanes, [row(n, owner=f"key{n % 4}") for n in range(40)])
    assert len(taken) == 5
    ticks.now += 60
    assert tried(lanes, [row(n, owner="key9") for n in range(9)]) == [], "also while they hang"
    assert len(tried(lanes, [row(n, "b") for n in range(9)])) == 3


def test_tries_that_hang_make_room_for_quick_ones(ticks: Ticks) -> None:
    lanes = Lanes(Places(quick=10, total=15), ticks=ticks)
    due = [row(n, f"host{n}", owner=f"key{n}") for n in range(40)]
    assert plan(lanes, due).more
    assert tried(lanes, due) == due[:10]
    ticks.now += 0.4
    assert tried(lanes, due[10:]) == []
    ticks.now += 0.2
    assert tried(lanes, due[10:]) == due[10:15]
    ticks.now += 60
    assert tried(lanes, due[15:]) == []
    assert lanes.full


def test_one_owner_leaves_places_for_others(ticks: Ticks) -> None:
    lanes = Lanes(Places(quick=100, total=200), ticks=ticks)
    many = [row(n, f"host{n}", "greedy") for n in range(300)]
    assert len(tried(lanes, many)) == 80
    other = [row(n, f"other{n}", "modest") for n in range(300, 305)]
    assert tried(lanes, [*many[80:], *other]) == other


def test_places_go_round_between_owners_and_lanes(ticks: Ticks) -> None:
    lanes = Lanes(Places(quick=9, total=20), ticks=ticks)
    due = [row(n, f"host{n % 3}", "one") for n in range(30)] + [row(30, "host", "two"), row(31, "host", "three")]
    first = plan(lanes, due, most=3).take
    assert {one.owner for one in first} == {"one", "two", "three"}
    assert Counter(one.host for one in plan(lanes, due, most=5).take) == {"host": 2, "host0": 1, "host1": 1, "host2": 1}


def test_a_lane_in_trouble_is_probed_by_one_try_after_a_pause_and_the_rest_is_put_off(ticks: Ticks) -> None:
    lanes = Lanes(ticks=ticks)
    fail(lanes, "dead")
    due = [row(n, "dead") for n in range(5)]
    too_early = plan(lanes, due)
    assert too_early.take == []
    assert {off.why for off in too_early.put_off} == {"HTTP 500"}
    assert all(off.until > NOW for off in too_early.put_off)
    later = plan(lanes, due, NOW + 1_000)
    assert len(later.take) == 1
    assert len(later.put_off) == 4
    begun = lanes.begin(("", "dead"))
    assert plan(lanes, due, NOW + 1_000).take == [], "one at a time"
    lanes.answered(begun)
    assert len(plan(lanes, due, NOW + 1_000).take) == 5, "it is well again"


def test_a_lane_that_answers_now_and_then_is_not_in_trouble(ticks: Ticks) -> None:
    lanes = Lanes(ticks=ticks)
    lanes.answered(lanes.begin(("", "moody")))
    fail(lanes, "moody", times=4)
    assert len(plan(lanes, [row(n, "moody") for n in range(4)]).take) == 4
    fail(lanes, "moody")
    assert plan(lanes, [row(n, "moody") for n in range(4)]).take == []


def test_tries_that_fail_together_make_one_pause(ticks: Ticks) -> None:
    lanes = Lanes(ticks=ticks)
    lanes.answered(lanes.begin(("", "slow")))
    for one in [lanes.begin(("", "slow")) for _ in range(16)]:
        ticks.now += 0.01
        lanes.failed(one, "no answer in time", NOW)
    assert plan(lanes, [row(1, "slow")]).take == [], "it is in trouble"
    assert len(plan(lanes, [row(1, "slow")], NOW + 500).take) == 1
    fail(lanes, "slow")
    assert plan(lanes, [row(1, "slow")], NOW + 374).take == [], "the next pause is longer"
    assert len(plan(lanes, [row(1, "slow")], NOW + 750).take) == 1


def test_of_a_hook_that_fails_every_other_try_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some 360 states in a minute, in whose midst nothing is answered for ten seconds, the unluckiest."""
    worst = []
    for seed in range(15):
        chance = random.Random(seed)
        monkeypatch.setattr(random, "uniform", chance.uniform)
        worst.append(max(waits_s(chance, silent=(20, 30))))
    assert statistics.median(worst) < 120, worst


def waits_s(chance: random.Random, silent: tuple[float, float]) -> list[float]:
    """Seconds from a state to its hearing, of all of a minute, by a clock of its own."""
    ticks = Ticks()
    lanes, waits = Lanes(ticks=ticks), list[float]()
    made = sorted(int(chance.uniform(0, 60_000)) for _ in range(360))
    owed = {one.task_id: one for one in (row(n, created=at)._replace(due=at) for n, at in enumerate(made))}
    under_way = list[tuple[float, Due, Try, bool]]()
    while owed or under_way:
        ticks.now += 0.1
        assert ticks.now < 2 * 3_600, owed
        now = int(1_000 * ticks.now)
        for ended in [one for one in under_way if one[0] <= ticks.now]:
            under_way.remove(ended)
            _, one, begun, well = ended
            if well:
                lanes.answered(begun)
                waits.append((now - one.created) / 1_000)
            else:
                lanes.failed(begun, "HTTP 500", now)
                owed[one.task_id] = one._replace(due=now + backoff_ms(1_000, one.attempt - 1, HOUR_MS))
        found = plan(lanes, sorted((one for one in owed.values() if one.due <= now), key=lambda one: (one.due, one.task_id)), now)
        for one in found.take:
            hangs = silent[0] <= ticks.now < silent[1]
            well = not hangs and chance.random() < 0.5
            del owed[one.task_id]
            under_way.append((ticks.now + 10 * hangs, one._replace(attempt=one.attempt + 1), lanes.begin(("", "a")), well))
        owed.update({off.row.task_id: off.row._replace(due=off.until) for off in found.put_off})
    return waits


def test_trouble_is_a_lanes_own(ticks: Ticks) -> None:
    lanes = Lanes(ticks=ticks)
    fail(lanes, "shared", owner="unlucky")
    assert plan(lanes, [row(1, "shared", "unlucky"), row(2, "shared", "lucky")]).take == [row(2, "shared", "lucky")]


def test_a_receiver_that_asks_for_a_pause_gets_it_for_the_whole_lane_up_to_a_minute(ticks: Ticks) -> None:
    lanes = Lanes(ticks=ticks)
    fail(lanes, "busy", asked_ms=20_000)
    assert plan(lanes, [row(1, "busy")], NOW + 19_000).take == []
    assert len(plan(lanes, [row(1, "busy")], NOW + 20_000).take) == 1
    fail(lanes, "greedy", asked_ms=3_600_000)
    assert len(plan(lanes, [row(1, "greedy")], NOW + 60_000).take) == 1


def test_lanes_in_trouble_together_get_ten_tries_a_second_and_those_first_that_failed_least(ticks: Ticks) -> None:
    lanes = Lanes(ticks=ticks)
    for n in range(1_000):
        fail(lanes, f"dead{n}", times=1 + (n < 990))
    due = [row(n, f"dead{n}") for n in range(1_000)]
    first = plan(lanes, due, NOW + 60_000)
    assert len(first.take) == 20
    assert {one.host for one in first.take} > {f"dead{n}" for n in range(990, 1_000)}
    ticks.now += 1
    assert len(plan(lanes, due, NOW + 60_000).take) == 10
    ticks.now += 3_600
    assert len(plan(lanes, due, NOW + 60_000).take) == 20, "what was not used is not saved up"


@pytest.mark.parametrize(("age_s", "least_s", "most_s"), [(0, 0.25, 0.75), (10, 2.5, 7.5), (1_000, 250, 750), (80_000, 3_600, 3_600)])
def test_pauses_grow_with_age_to_an_hour_and_no_further(ticks: Ticks, age_s: int, least_s: float, most_s: float) -> None:
    lanes = Lanes(ticks=ticks)
    lanes.failed(lanes.begin(("", "dead")), "HTTP 500", NOW - 80_000_000)
    lanes.failed(lanes.begin(("", "dead")), "HTTP 500", NOW)
    (off,) = plan(lanes, [row(1, "dead", created=NOW - age_s * 1000)]).put_off
    assert least_s * 1000 <= off.until - NOW <= most_s * 1000 + 1_000


def test_a_short_trouble_does_not_hold_up_what_is_old(ticks: Ticks) -> None:
    lanes = Lanes(ticks=ticks)
    fail(lanes, "dead")
    (off,) = plan(lanes, [row(1, "dead", created=NOW - 80_000_000)]).put_off
    assert off.until - NOW <= 750


def test_after_a_day_what_a_dead_host_is_owed_is_given_up(ticks: Ticks) -> None:
    lanes = Lanes(ticks=ticks)
    fail(lanes, "dead")
    old = plan(lanes, [row(1, "dead", created=NOW - DAY_MS - 1), row(2, "dead")])
    assert [(up.row.task_id[-1], up.why) for up in old.given_up] == [("1", "HTTP 500")]
    assert len(old.put_off) == 1
    assert len(plan(lanes, [row(1, "well", created=NOW - DAY_MS - 1)]).take) == 1, "a host that is not known to be dead is tried"


def test_what_has_no_place_makes_way_for_what_was_not_seen_yet(ticks: Ticks) -> None:
    lanes = Lanes(Places(lane=2, host=4), ticks=ticks)
    due = [row(n, "busy", owner=f"key{n}") for n in range(500)]
    assert plan(lanes, due).put_off == [], "nothing is behind them"
    crowded = plan(lanes, due, all_seen=False)
    assert crowded.more
    assert len(crowded.take) == 4
    assert len(crowded.put_off) == 500 - 4 - 64
    assert {off.why for off in crowded.put_off} == {None}, "it is not the host's fault"


def test_half_of_the_files_that_may_be_open_are_for_others() -> None:
    assert affordable(1) == Places(quick=1, total=2)
    assert affordable(10**9).total < 10**9
