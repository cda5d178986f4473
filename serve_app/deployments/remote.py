"""The models of a swap behind deployment handles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.deployments.batcher import BatchQueueFull
from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Frame, Patch, SwapItem

# What says nothing about the item: a replica that died or drains, a full queue.
PASSING = (RayActorError, BackPressureError, DeploymentUnavailableError, BatchQueueFull)
TRIES = 4
FIRST_PAUSE_S = 0.2


class ModelsUnavailable(Exception):
    """No replica could take the call, several times over."""


class RemoteModels:
    """`swap.Models` over FaceDetector and FaceSwapper.

    Serve does not repeat a call whose replica died under it; the models hold no state, so this does.
    Raises ModelsUnavailable when that does not help either.
    """

    def __init__(self, detector: DeploymentHandle[Any], swapper: DeploymentHandle[Any]) -> None:
        self._detector = detector
        self._swapper = swapper
        self._description: dict[str, object] | None = None

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        outcomes: list[Faces | FaceError] = await _call(self._detector, "detect", list(pictures))
        return outcomes

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        outcomes: list[Floats | FaceError] = await _call(self._detector, "identify", list(faces))
        return outcomes

    async def swap(self, items: Sequence[SwapItem]) -> list[Patch | FaceError]:
        outcomes: list[Patch | FaceError] = await _call(self._swapper, "swap", list(items))
        return outcomes

    async def description(self, family: str) -> dict[str, object]:
        """Family, runtime and precision of each model, for the task's properties; asked for once."""
        if self._description is None:
            engines = {**await _call(self._detector, "info"), **await _call(self._swapper, "info")}
            runs = {name: f"{engine['runtime']} {engine['precision']}" for name, engine in engines.items()}
            self._description = {"family": family, **runs}
        return self._description


async def _call(handle: DeploymentHandle[Any], method: str, *arguments: list[Any]) -> Any:
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))  # the router needs a moment to learn of a death
        try:
            return await getattr(handle, method).remote(*arguments)
        except PASSING as error:
            last = type(error).__name__
    raise ModelsUnavailable(f"{handle.deployment_name}.{method} could not be reached in {TRIES} tries ({last})")
