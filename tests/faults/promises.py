"""What must hold after any fault. Each promise names what broke it; a promise that held names nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.kinds import Fault
from tests.faults.load import Load, Trouble
from tests.faults.receiver import Heard, disordered, untold
from tests.faults.records import ENDS, Records

PROXY_BACK_S = 8.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """results: keys of the pictures that are stored. heard: what the tasks' hook heard. proxy_back_s: for how long a proxy may be away."""

    faults: list[Fault]
    load: Load
    records: Records
    results: list[str]
    heard: list[Heard]
    proxy_back_s: float = PROXY_BACK_S

    def fault_of(self, at: float) -> Fault | None:
        """The one under way, or the last before."""
        return next((fault for fault in reversed(self.faults) if fault.began <= at), None)

    def back_after(self, fault: Fault) -> float | None:
        """Seconds from its begin to the first accepted submit that a client began after it; None: there was none any more."""
        return min((end - fault.began for begin, end in self.load.accepted if begin > fault.began), default=None)


def ended(evidence: Evidence) -> list[str]:
    """Every accepted task has ended, in a picture or with a reason."""
    broken = []
    for seen in evidence.load.tasks:
        record = evidence.records.latest.get(seen.task)
        if record is None:
            broken.append(f"task {seen.task} was accepted and is not in the database")
        elif seen.end is None:
            broken.append(f"task {seen.task} was not seen to end: {record}")
        elif seen.end["status"] == "SUCCESS" and seen.picture is None:
            broken.append(f"task {seen.task} is SUCCESS and its picture never came")
        elif seen.end["status"] == "FAILURE" and not seen.end["failReason"]:
            broken.append(f"task {seen.task} failed without a reason")
    for record in evidence.records.latest.values():
        if record.status not in ENDS:
            broken.append(f"task {record.id} has not ended: {record}")
    return broken


def final(evidence: Evidence) -> list[str]:
    """What has ended never changes; fences only grow."""
    return [*evidence.load.wrong, *evidence.records.wrong]


def once(evidence: Evidence) -> list[str]:
    """One submit makes one task at most, however often the client or the proxy sent it; and one task one picture.

    A worker that died between picture and commit leaves one that the sweep finds by its age; only tasks that were claimed again have such.
    """
    broken = []
    of_submit = Counter(record.state for record in evidence.records.latest.values())
    broken += [f"submit {number} made {count} tasks" for number, count in of_submit.items() if count > 1]
    stored = Counter(key.removeprefix("results/").partition("-")[0] for key in evidence.results)
    for record in evidence.records.latest.values():
        if record.status == "SUCCESS" and record.result not in evidence.results:
            broken.append(f"task {record.id} is SUCCESS and its picture is not stored")
        if record.fence <= 1 and stored[record.id] > (record.status == "SUCCESS"):
            broken.append(f"task {record.id} was claimed once and has {stored[record.id]} pictures")
    return broken


def answered(evidence: Evidence) -> list[str]:
    """A client sees a broken connection or a refusal only while a fault lasts that makes them, and never anything else."""
    return [f"{bad.asked}: {bad.what}, after {_cause(evidence, bad)}" for bad in evidence.load.troubles if not _allowed(evidence, bad)]


def proxy_back(evidence: Evidence) -> list[str]:
    backs = [evidence.back_after(fault) for fault in evidence.faults if fault.kind.name == "proxy"]
    return [f"a killed proxy was back after {back:.1f} s" for back in backs if back is not None and back > evidence.proxy_back_s]


def _allowed(evidence: Evidence, trouble: Trouble) -> bool:
    fault = evidence.fault_of(trouble.at)
    return fault is not None and ((trouble.kind == "cut" and fault.kind.cuts) or (trouble.kind == "refused" and fault.kind.refuses))


def _cause(evidence: Evidence, trouble: Trouble) -> str:
    fault = evidence.fault_of(trouble.at)
    return f"{fault.kind.name} ({trouble.at - fault.began:.0f} s)" if fault else "nothing"


def hooks_told(evidence: Evidence) -> list[str]:
    """The hook hears the end of every task, its states in order, and a state that comes again under the same id."""
    ends = {record.id: record.status for record in evidence.records.latest.values()}
    return [*untold(evidence.heard, ends, evidence.records.owed), *disordered(evidence.heard)]


PROMISES: tuple[Callable[[Evidence], list[str]], ...] = (ended, final, once, answered, proxy_back, hooks_told)


def broken(evidence: Evidence) -> Counter[str]:
    """What broke a promise, and how often."""
    return Counter(what for promise in PROMISES for what in promise(evidence))
