"""The figures of a run, as a page of Markdown."""

from __future__ import annotations

import statistics
from collections import Counter

from benchmarks.machine import machine_line
from tests.faults.kinds import KINDS
from tests.faults.promises import Evidence
from tests.faults.receiver import figures

HEAD = ("killed", "times", "accepts again after s", "clients cut off", "clients refused", "other answers")


def page(evidence: Evidence, seconds: float, seed: int) -> str:
    title = f"{seconds:.0f} s, seed {seed}, {evidence.load.rate:g} submits/s; {machine_line()}"
    return "\n".join([title, "", *_table(("", ""), _totals(evidence)), "", *_table(HEAD, _kinds(evidence))])


def _totals(evidence: Evidence) -> list[tuple[str, ...]]:
    load, records = evidence.load, evidence.records.latest.values()
    took = sorted((record.finish_time - record.submit_time) / 1000 for record in records if record.finish_time)
    reasons = Counter(record.fail_reason or "" for record in records if record.status == "FAILURE")
    known = {seen.task for seen in load.tasks}
    return [
        ("submits, of which accepted", f"{load.submits}, {len(load.tasks)}"),
        ("given up by their clients", f"{load.given_up}"),
        ("of these, tasks all the same", f"{sum(record.id not in known for record in records)}"),
        ("tasks that ended in SUCCESS", f"{sum(record.status == 'SUCCESS' for record in records)}"),
        *((f"in FAILURE: {reason}", f"{count}") for reason, count in reasons.items()),
        ("claimed more than once", f"{sum(record.fence > 1 for record in records)}"),
        ("pictures of workers that died before their commit", f"{len(set(evidence.results) - {record.result for record in records})}"),
        ("the hook", figures(evidence.heard)),
        ("task time p50, p99, longest, s", ", ".join(f"{value:.1f}" for value in _quantiles(took))),
    ]


def _kinds(evidence: Evidence) -> list[tuple[str, ...]]:
    rows = []
    for kind in KINDS:
        faults = [fault for fault in evidence.faults if fault.kind is kind]
        backs = [evidence.back_after(fault) for fault in faults]
        seen = Counter(bad.kind for bad in evidence.load.troubles if (cause := evidence.fault_of(bad.at)) and cause.kind is kind)
        said = ", ".join("-" if back is None else f"{back:.1f}" for back in backs)
        rows.append((kind.name, f"{len(faults)}", said, *(f"{seen[word]}" for word in ("cut", "refused", "wrong"))))
    return rows


def _quantiles(took: list[float]) -> tuple[float, ...]:
    if len(took) < 2:
        return tuple(took)
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return cuts[49], cuts[98], took[-1]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
