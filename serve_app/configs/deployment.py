"""What a Serve config file says of one deployment, with Ray's defaults where it says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ray.serve.config import AutoscalingConfig

from serve_app.configs.finding import Place

ONGOING = 5  # as Ray has it


@dataclass(frozen=True, slots=True)
class Deployment:
    name: str
    place: Place
    least: int = 1  # replicas
    most: int = 1
    ongoing: int = ONGOING
    cpus: float = 1.0
    gpus: float = 0.0
    scaling: AutoscalingConfig | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: dict[str, Any], place: Place, scaling: AutoscalingConfig | None) -> Deployment:
        """given: one that Ray's schema takes."""
        options = given.get("ray_actor_options") or {}
        number = given.get("num_replicas")
        fixed = number if isinstance(number, int) else 1
        return cls(
            given["name"],
            place,
            least=scaling.min_replicas if scaling else fixed,
            most=scaling.max_replicas if scaling else fixed,
            ongoing=given.get("max_ongoing_requests", ONGOING),
            cpus=_number(options.get("num_cpus"), 1.0),
            gpus=_number(options.get("num_gpus"), 0.0),
            scaling=scaling,
            options=options,
        )


def _number(given: float | None, default: float) -> float:
    return default if given is None else float(given)
