"""Every knob of the service, typed and documented. Unknown names are refused.

`Settings` is the `args:` of the application in a Serve config file (config/local.yaml). What must not stand in a
file comes from the environment: serve_app/secrets.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, TypeVar, cast

from limits import parse as parse_rate
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from pydantic.fields import FieldInfo

MOST_BODY_BYTES = 64_000_000  # Ray's proxy turns larger ones down before anybody reads them
_log = logging.getLogger(__name__)
G = TypeVar("G", bound="Group")


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _live(*deployments: str) -> dict[str, JsonValue]:
    """Of a setting that `user_config` of these deployments may change while their replicas run."""
    return {"live": [*deployments]}


class Limits(Group):
    """What a request may bring; anything larger is refused before it costs much."""

    max_body_bytes: int = Field(
        30_000_000, ge=1_000, le=MOST_BODY_BYTES, description="HTTP body; more is 413", json_schema_extra=_live("Ingress")
    )
    max_image_bytes: int = Field(
        10 * 1024 * 1024, ge=1_000, description="one picture, decoded from base64", json_schema_extra=_live("Ingress")
    )
    max_pixels: int = Field(
        40_000_000, ge=1_000, description="width x height of one picture, from its header", json_schema_extra=_live("Ingress")
    )
    min_side: int = Field(16, ge=2, description="shortest side of a picture, pixels", json_schema_extra=_live("Ingress"))
    max_aspect: float = Field(64.0, ge=1, description="longer side of a picture by its shorter one", json_schema_extra=_live("Ingress"))
    animations: Literal["first", "refuse"] = Field(
        "first",
        description="pictures of several frames or pages: their first one is used, and the task's properties say so; or refused",
        json_schema_extra=_live("Ingress"),
    )
    max_state: int = Field(1024, ge=0, description="characters of `state`", json_schema_extra=_live("Ingress"))
    max_sources: int = Field(10, ge=1, le=12, description="pictures in `options.sources`", json_schema_extra=_live("Ingress"))
    max_faces: int = Field(
        64,
        ge=1,
        le=1000,
        description="faces of one target that are swapped: of more the largest ones",
        json_schema_extra=_live("Ingress", "SwapPipeline"),
    )
    deadline_s: float = Field(
        280.0,
        gt=0,
        description="from a task's submit to its end; what takes longer fails. Clients give up at 300",
        json_schema_extra=_live("Ingress"),
    )
    max_unfinished: int | None = Field(
        None,
        ge=1,
        description="tasks waiting or worked on; further submits are refused with code 23. None: 80 % of what can be finished within "
        "`deadline_s` at the rate of the last ones, for at least 1,000 until tasks have to wait. Its old name `max_waiting` is still taken",
        json_schema_extra=_live("Ingress"),
    )
    key_share: float = Field(0.8, gt=0, le=1, description="how much of that one key may have", json_schema_extra=_live("Ingress"))
    body_timeout_s: float = Field(30.0, gt=0, description="for a whole HTTP body to arrive")
    max_bodies: int = Field(128, ge=1, description="bodies on their way in per Ingress replica; stay below its max_ongoing_requests")
    max_bodies_per_address: int = Field(16, ge=1, description="of them from one client address (IPv6: from one /64)")
    max_bodies_bytes: int = Field(300_000_000, ge=1_000, description="bytes of bodies held at a time per Ingress replica; more is 503")

    @model_validator(mode="before")
    @classmethod
    def _takes_old_name(cls, given: object) -> object:
        if not isinstance(given, dict) or "max_waiting" not in given:
            return given
        _log.warning("limits.max_waiting is called max_unfinished now, and counts what is worked on as well; without it, room is measured")
        rest = {name: value for name, value in given.items() if name != "max_waiting"}
        return {"max_unfinished": given["max_waiting"], **rest}


class Rates(Group):
    """How often clients may ask; over it 429. Each Ingress replica counts for itself. Texts such as `600/minute`, null for no limit."""

    submits_per_key: str | None = Field("6000/minute", description="submits with one key", json_schema_extra=_live("Ingress"))
    submits_per_address: str | None = Field(
        "6000/minute", description="submits from one client address (IPv6: from one /64)", json_schema_extra=_live("Ingress")
    )
    wrong_keys: str | None = Field(
        "30/minute", description="wrong keys from one client address, before it may not try others", json_schema_extra=_live("Ingress")
    )

    @field_validator("*")
    @classmethod
    def _is_rate(cls, text: str | None) -> str | None:
        if text is not None:
            parse_rate(text)
        return text


class CurrentLimits(Limits, frozen=False):
    """As they are now: see `change`."""


class CurrentRates(Rates, frozen=False):
    """As they are now: see `change`."""


def change(current: CurrentLimits | CurrentRates, wanted: Group) -> None:
    """In place, for all who read them."""
    for name in type(wanted).model_fields:
        setattr(current, name, getattr(wanted, name))


class IngressSettings(Group):
    """The HTTP side and the loops that live with it."""

    max_dispatched: int = Field(
        32,
        ge=1,
        description="run_next() calls in flight per Ingress replica; stay below SwapPipeline's max_ongoing_requests",
        json_schema_extra=_live("Ingress"),
    )
    recovery_period_s: float = Field(5.0, gt=0, description="how often waiting rows and expired leases are looked for (+-20 %)")
    sweep_period_s: float = Field(60.0, gt=0, description="how often pictures are deleted that a dead process left behind (+-20 %)")
    gauges_period_s: float = Field(
        5.0, gt=0, description="how often one of the replicas counts tasks and callbacks in the database, for metrics (+-20 %)"
    )
    spare_processes: int = Field(
        0,
        ge=0,
        le=64,
        description="processes that wait on every node for the next replica or proxy, which then starts sooner; each takes 80 MB",
    )
    callbacks_in_flight: int = Field(
        2048,
        ge=1,
        le=10_000,
        description="callbacks being sent at a time per Ingress replica, not counting those that have had no answer for half a second: "
        "as many again may be of that kind",
    )


class Retention(Group):
    """How long what has ended is kept; null: for ever. `DELETE /mj/task/ID` removes a task and its picture at once."""

    results_days: float | None = Field(30, gt=0, description="result pictures, from the end of their task; then they are answered with 410")
    tasks_days: float | None = Field(365, gt=0, description="tasks, from their end")


class EgressSettings(Group):
    """What the service fetches and calls because a request says so: pictures by URL, and hooks."""

    allow_private: tuple[IPv4Network | IPv6Network, ...] = Field(
        (),
        description="networks that are not public and may be called nevertheless, as `10.1.0.0/16`; also by the global hook of "
        "FACESWAP_NOTIFY_HOOK. A metadata service only where its address stands alone",
    )
    picture_timeout_s: float = Field(10.0, gt=0, le=60, description="for one picture, with its redirects")
    hook_timeout_s: float = Field(10.0, gt=0, le=60, description="for one try of a callback")


class PipelineSettings(Group):
    """Decoding, pasting, encoding: the CPU work around the models."""

    in_flight: int | None = Field(
        None,
        ge=1,
        description="tasks worked on at a time per replica; the rest waits in the table, where its order can still change. None: two "
        "batches of a FaceSwapper replica, 2 x `swapper.slots` x the largest of `swapper.buckets`, for as many replicas of both",
        json_schema_extra=_live("SwapPipeline"),
    )
    max_megapixels: int = Field(
        160,
        ge=1,
        description="million pixels, sources and targets together, worked on at a time per replica; a larger task goes alone",
        json_schema_extra=_live("SwapPipeline"),
    )
    threads: int = Field(2, ge=1, description="threads for decode, paste and encode per replica")
    min_face: int = Field(
        0,
        ge=0,
        description="shorter side of the smallest face that is swapped, pixels; requests may ask for more",
        json_schema_extra=_live("SwapPipeline"),
    )
    quality: int = Field(95, ge=50, le=100, description="JPEG and WebP quality of results", json_schema_extra=_live("SwapPipeline"))
    remember_s: float = Field(
        600.0,
        ge=0,
        description="how long a source's face stays in memory, found and described, for further swaps of the same key; 0: not at all",
    )
    remember_mb: int = Field(64, ge=0, description="memory for such faces per replica, million bytes; those not used for longest go first")
    lease_s: float = Field(30.0, gt=0, description="a claimed task is taken up again when its lease ran out")
    renew_s: float = Field(10.0, gt=0, description="how often a running task renews its lease")
    drain_s: float = Field(
        15.0, ge=0, description="when `faceswap serve` is stopped: what is worked on has so long to end; the rest waits for the next start"
    )
    max_attempts: int = Field(3, ge=1, description="attempts at one task that may be lost before it fails; the last is made alone")

    @model_validator(mode="after")
    def _renews_in_time(self) -> PipelineSettings:
        if self.renew_s * 2 > self.lease_s:
            raise ValueError(f"renew_s {self.renew_s} must be at most half of lease_s {self.lease_s}, or running tasks are taken for lost")
        return self


class DetectorSettings(Group):
    """FaceDetector: boxes and keypoints, then the description of a face (mesh or embedding)."""

    threads: int = Field(1, ge=1, description="threads of one model run")
    slots: int = Field(2, ge=1, description="model runs at a time per replica; threads x slots is about the cores")
    sizes: tuple[Annotated[int, Field(ge=64, le=1280, multiple_of=32)], ...] = Field(
        (128, 640),
        min_length=1,
        description="sides of the letterboxed frames that faces are looked for in, pixels; `builtin` uses the largest, `insightface` all: "
        "128 and 640 is its library's default, which also finds faces that fill the picture",
    )
    buckets: tuple[int, ...] = Field(
        (1,),
        min_length=1,
        description="batch sizes of `insightface`, ascending; above 1 they pay on GPUs. Live: which of them are used",
        json_schema_extra=_live("FaceDetector"),
    )
    min_score: float = Field(0.5, gt=0, lt=1, description="faces below this score are ignored")
    max_queued: int = Field(256, ge=16, description="frames or faces waiting per replica; more is refused")


class BuiltinSettings(Group):
    """What family `builtin` does beyond laying one face on another."""

    occlusion: bool = Field(
        True, description="glasses, masks, gloves, strands of hair before the target's face stay where they can be told from skin"
    )
    grain: bool = Field(True, description="the new face is made as soft and as noisy as the target")
    gaze: Literal["source", "target"] = Field("target", description="whose gaze the new face has")
    most_turn: float | None = Field(
        None,
        gt=0,
        le=180,
        description="degrees by which source and target may be turned unlike each other; beyond that a face is left alone and the task "
        "says so. None: swapped, with a note and less confidence",
    )


class SwapperSettings(Group):
    """FaceSwapper: makes the new face."""

    threads: int = Field(1, ge=1, description="threads of one model run (`insightface`)")
    buckets: tuple[int, ...] = Field(
        (1,),
        min_length=1,
        description="batch sizes of `insightface`, ascending; above 1 they pay on GPUs, and a little on processors with AMX. "
        "Live: which of them are used",
        json_schema_extra=_live("FaceSwapper"),
    )
    slots: int = Field(2, ge=1, description="batches in flight per replica; on a CPU threads x slots is about the cores")
    max_side: int = Field(640, ge=128, le=1024, description="largest face square that travels to the swapper, pixels (`builtin`)")
    max_queued: int = Field(256, ge=1, description="faces waiting per replica; more is refused")
    builtin: BuiltinSettings = BuiltinSettings()


class FakeSettings(Group):
    """Family `fake`: no weights; for tests and load runs. Each replica has one simulated device, which makes one batch at a time; a batch
    of n takes it seconds + n * seconds_per_item, and no core.
    """

    seconds: float = Field(0.0, ge=0, description="that every batch takes the replica's one simulated device")
    seconds_per_item: float = Field(0.0, ge=0, description="more of them for every item of a batch")
    costly: tuple[Literal["detect", "identify", "swap"], ...] = Field(
        ("detect", "identify", "swap"), description="models of `fake` that take so long; the others cost nothing"
    )
    buckets: tuple[int, ...] = Field((1, 2, 4, 8), min_length=1, description="batch sizes of `fake`, ascending")
    journal: Path | None = Field(
        None, description="absolute folder in which every such device writes when a batch began and ended, and its size"
    )


class Settings(Group):
    """All of it; the defaults are those of config/local.yaml."""

    family: Literal["auto", "builtin", "insightface", "fake"] = Field(
        "auto", description="which models swap; auto: insightface when its files are in models_dir, else builtin"
    )
    provider: Literal["cpu", "cuda"] = Field("cpu", description="what runs the `insightface` models; cuda refuses to start where it cannot")
    precision: Literal["exact", "fast"] = Field(
        "fast", description="exact: ONNX Runtime float32; fast: the fastest runtime that passes a self-test against it"
    )
    data_dir: Path = Field(Path("data"), description="tasks and pictures of this node; relative to where the service is started")
    models_dir: Path = Field(Path("models"), description="model files; the built-in ones in its folder builtin/")
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        (),
        description="networks of reverse proxies whose X-Forwarded-For, -Proto and -Host (or Forwarded) count, as `10.1.0.0/16`; "
        "without them all clients behind a proxy are one address to the limits",
    )
    allow_open: bool = Field(
        False, description="answer everybody while there is no key at all; otherwise an open service answers only its own machine"
    )
    instances: tuple[str, ...] = Field(
        (), description="the ids that accountFilter.instanceId may name; a blank one is always fine. None: it may name anything"
    )
    limits: Limits = Limits()
    rates: Rates = Rates()
    ingress: IngressSettings = IngressSettings()
    retention: Retention = Retention()
    egress: EgressSettings = EgressSettings()
    pipeline: PipelineSettings = PipelineSettings()
    detector: DetectorSettings = DetectorSettings()
    swapper: SwapperSettings = SwapperSettings()
    fake: FakeSettings = FakeSettings()

    @property
    def in_flight(self) -> int:
        """Tasks worked on at a time per replica of SwapPipeline."""
        return self.pipeline.in_flight or 2 * self.swapper.slots * self.swapper.buckets[-1]

    def changed(self, deployment: str, changes: Mapping[str, object]) -> Settings:
        """These with what `user_config` of a deployment says in their place; it is written as `args` are.

        Raises ValueError for a setting that there is not, that this deployment reads only when it starts, or that is wrong.
        """
        return _changed(self, deployment, changes, "")

    @property
    def database(self) -> Path:
        """The SQLite file, for a service without FACESWAP_DATABASE_URL: see `database_of`."""
        return self.data_dir / "tasks.db"

    @property
    def blobs(self) -> Path:
        """The folder of pictures, for a service without FACESWAP_BLOBS_URL: see `blobs_of`."""
        return self.data_dir / "blobs"

    def absolute(self, base: Path) -> Settings:
        """The same settings with folders resolved against `base`: replicas start elsewhere."""
        return self.model_copy(update={"data_dir": (base / self.data_dir).resolve(), "models_dir": (base / self.models_dir).resolve()})


def _changed(group: G, deployment: str, changes: Mapping[str, object], prefix: str) -> G:
    values: dict[str, object] = {}
    for name, value in changes.items():
        if name not in type(group).model_fields:
            raise ValueError(f"there is no setting {prefix}{name}")
        current = getattr(group, name)
        if isinstance(current, Group):
            if not isinstance(value, Mapping):
                raise ValueError(f"{prefix}{name} is a group of settings, not {value!r}")
            values[name] = _changed(current, deployment, value, f"{prefix}{name}.")
        elif deployment in live_in(type(group).model_fields[name]):
            values[name] = value
        else:
            raise ValueError(f"user_config of {deployment} cannot change {prefix}{name}; set it in args, which replaces the replicas")
    return type(group).model_validate({**dict(group), **values})


def live_in(field: FieldInfo) -> Sequence[str]:
    """The deployments whose `user_config` may change a setting while their replicas run."""
    extra = field.json_schema_extra
    return cast(Sequence[str], extra.get("live", ())) if isinstance(extra, dict) else ()
