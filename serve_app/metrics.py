"""Every metric of the service: names, kinds, labels and what they say. Pure data; deployments/recorder.py takes the values to Ray.

Labels have few values, all known beforehand: no key, no task, no address, no text of an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram", "info"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """unit: of its value. bounds: upper ends of a histogram's buckets. raw: it is in no panel and no alert."""

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    raw: bool = False

    @property
    def series(self) -> tuple[str, ...]:
        """Their names in Prometheus."""
        name = f"ray_{self.name}"
        ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum"), "info": ("",)}
        return tuple(name + end for end in ends[self.kind])


class Recorder(Protocol):
    """Counters grow by `value`, gauges become it for some seconds, histograms count it; infos say for good what a process is, once.

    Never raises, and costs microseconds.
    """

    def __call__(self, metric: Metric, value: float = 1.0, /, **labels: str) -> None: ...


def unrecorded(_metric: Metric, _value: float = 1.0, /, **_labels: str) -> None:
    """For whoever measures nothing."""


TASKS_ACCEPTED = Metric("faceswap_tasks_accepted", "counter", "tasks", "accepted, repetitions of a submit not counted")
TASKS_ENDED = Metric("faceswap_tasks_ended", "counter", "tasks", "ended, by status and by why", ("status", "reason"))
TASKS_TAKEN_BACK = Metric("faceswap_tasks_taken_back", "counter", "tasks", "waiting again, for who worked on them was lost", raw=True)
TASK_SECONDS = Metric(
    "faceswap_task_seconds", "histogram", "seconds", "from the submit to the end that a worker wrote", ("status",), _SECONDS
)
STAGE_SECONDS = Metric("faceswap_stage_seconds", "histogram", "seconds", "of one stage of one task", ("stage",), _SECONDS)

UNFINISHED = Metric("faceswap_unfinished_tasks", "gauge", "tasks", "that wait, and that are worked on", ("state",))
OLDEST_SECONDS = Metric("faceswap_oldest_waiting_seconds", "gauge", "seconds", "since the submit of the oldest task that waits; 0 for none")
ROOM = Metric("faceswap_room_tasks", "gauge", "tasks", "unfinished ones there may be; above it submits are refused with code 23")
KEPT = Metric("faceswap_kept_tasks", "gauge", "tasks", "ended and still in the database", ("status",))

BATCH_SIZE = Metric("faceswap_batch_size", "histogram", "items", "of one run of a model", ("model",), (1.0, 2.0, 4.0, 8.0, 16.0, 32.0))
BATCH_ITEMS = Metric("faceswap_batch_items", "counter", "items", "run through a model", ("model",))
BATCH_PLACES = Metric("faceswap_batch_places", "counter", "items", "that the same runs had room for", ("model",))
BATCH_SECONDS = Metric("faceswap_batch_seconds", "histogram", "seconds", "of one run of a model", ("model",), _SECONDS)
BATCHES_FAILED = Metric(
    "faceswap_batches_failed", "counter", "runs", "of a model that raised; halves are tried again", ("model",), raw=True
)

SOURCE_LOOKUPS = Metric("faceswap_source_lookups", "counter", "faces", "asked for among those remembered of sources", ("outcome",))

HOOK_CALLS = Metric("faceswap_hook_calls", "counter", "calls", "of hooks, by what became of them", ("outcome",))
HOOK_DELAY_SECONDS = Metric(
    "faceswap_hook_delay_seconds", "histogram", "seconds", "from the commit of a state to the 2xx of its hook", (), _SECONDS
)
HOOKS_OWED = Metric("faceswap_owed_callbacks", "gauge", "callbacks", "still to be delivered, and given up", ("state",))
HOOKS_OLDEST_SECONDS = Metric(
    "faceswap_oldest_callback_seconds", "gauge", "seconds", "since the commit that the oldest pending callback reports"
)

REFUSALS = Metric("faceswap_refusals", "counter", "answers", "that refuse a request, by name and code of docs/api.md", ("answer", "code"))

ENGINE = Metric(
    "faceswap_engine_info",
    "info",
    "",
    "what runs a model, in each replica of a model deployment",
    ("model", "family", "runtime", "precision"),
)
BUILD = Metric("faceswap_build_info", "info", "", "the release, and what it runs on", ("version", "family", "ray", "python"))

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))

LABELS = {
    "answer": "the row of docs/api.md's table of answers, in small letters, as `queue_full`",
    "code": "the answer's `code`, as `23`",
    "family": "`builtin`, `insightface` or `fake`",
    "model": "`detect`, `identify` or `swap`",
    "outcome": "of hooks `delivered`, `failed` (tried again later) or `given_up`; of sources `hit` or `miss`",
    "precision": "as the engine says",
    "python": "its version",
    "ray": "its version",
    "reason": "of failures `cancelled`, `overdue`, `worn_out`, `picture`, `inputs_gone` or `internal`; of successes none",
    "runtime": "as the engine says",
    "stage": "`queue`, `read`, `admission`, `decode`, `detect`, `cut`, `identify`, `swap`, `paste`, `encode` or `write`",
    "state": "of tasks `waiting` or `working`; of callbacks `pending` or `dead`",
    "status": "`SUCCESS` or `FAILURE`",
    "version": "of faceswap-serve",
}

# Of the series that Ray and Prometheus have themselves: those that our panels and alerts use.
RAYS = {
    "up": "1 where Prometheus reached the node (Prometheus' own)",
    "ray_node_cpu_utilization": "percent of a node's cores in use",
    "ray_node_mem_available": "bytes of memory left on a node",
    "ray_node_mem_total": "bytes of memory of a node",
    "ray_serve_deployment_replica_healthy": "replicas that pass their health checks",
    "ray_serve_deployment_status": "1 could not be deployed, 2 unhealthy, 3 to 5 being changed, 6 healthy",
    "ray_serve_http_request_latency_ms_bucket": "from a request to the end of its answer, by route and status",
    "ray_serve_num_http_requests_total": "answers of the application, by route, method and status_code",
    "ray_serve_replica_processing_queries": "calls that a replica works on",
    "ray_serve_deployment_queued_queries": "calls that wait for a replica",
}


def metrics_page() -> str:
    """docs/metrics.md."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield from (
        "# Metrics",
        "",
        "Every Ray node exports these on its metrics port (`faceswap serve --metrics-port 9464`); [monitoring.md](monitoring.md) says how",
        "to collect them, and what the alerts mean. This page is what `faceswap metrics` prints.",
        "",
        "Ray adds the labels `deployment`, `replica` and `application`, and some of its own. A counter appears with its first event. Of a",
        "histogram Ray keeps what fell into which bucket; its `_sum` is worked out from their middles, so means come from counters.",
        "",
        "| metric | kind | unit | labels | meaning |",
        "|---|---|---|---|---|",
    )
    yield from (f"| `{_shown(one)}` | {one.kind} | {one.unit} | {_listed(one.labels)} | {one.help} |" for one in METRICS)
    yield from ("", f"In no panel and no alert: {_listed(_shown(one) for one in METRICS if one.raw)}.")
    yield from ("", "| label | values |", "|---|---|", *(f"| `{name}` | {LABELS[name]} |" for name in sorted(LABELS)))
    yield from ("", "Of Ray's own series the panels and alerts use:", "", "| series | meaning |", "|---|---|")
    yield from (f"| `{name}` | {RAYS[name]} |" for name in sorted(RAYS))


def _shown(metric: Metric) -> str:
    return metric.series[0].removesuffix("_bucket")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
