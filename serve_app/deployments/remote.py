"""The models of a swap behind deployment handles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from ray.exceptions import NodeDiedError, ObjectLostError, ObjectStoreFullError, RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.deployments.batcher import BatchQueueFull, EngineBroke, EngineOut
from serve_app.deployments.retry import pauses
from serve_app.vision.face import FaceError, Faces, FaceSquare, Floats, Frame, Patch, SwapItem

logger = logging.getLogger(__name__)

# Nobody took the call: no replica, a full queue, a broken engine. It says nothing about the items and may be made again as often as there
# is time.
REFUSED = (BackPressureError, DeploymentUnavailableError, BatchQueueFull, EngineOut, ObjectStoreFullError)
# A replica died, before it had answered or with its answer: large ones stay in the memory of its node until they are fetched. One whose
# engine broke is as good as dead: Serve will replace it.
DIED = (RayActorError, NodeDiedError, ObjectLostError, EngineBroke)
MOST_DEATHS = 3
FIRST_PAUSE_S, MOST_PAUSE_S = 0.2, 3.0


class ModelsUnavailable(Exception):
    """Replicas died under this task MOST_DEATHS times."""


class RemoteModels:
    """FaceDetector and FaceSwapper, for the attempts of one pipeline."""

    def __init__(self, detector: DeploymentHandle[Any], swapper: DeploymentHandle[Any]) -> None:
        self.detector = detector
        self.swapper = swapper
        self.alone = asyncio.Lock()
        self._description: dict[str, object] | None = None

    def attempt(self) -> Attempt:
        return Attempt(self)

    async def description(self, family: str, attempt: Attempt) -> dict[str, object]:
        """Family, runtime and precision of each model, for the task's properties; asked for once."""
        if self._description is None:
            engines = {**await attempt.call(self.detector, "info"), **await attempt.call(self.swapper, "info")}
            runs = {name: f"{engine['runtime']} {engine['precision']}" for name, engine in engines.items()}
            self._description = {"family": family, **runs}
        return self._description


class Attempt:
    """`swap.Models` for one attempt at one task.

    Serve does not repeat a call whose replica died under it. The models hold no state, so this does, and waits as long as it takes until
    there is another replica, whoever else is dead meanwhile; the caller's deadline is the limit.

    But the picture may be what kills them. So deaths are counted: those of a replica that had taken a call of this attempt (a call that
    meets a dead replica, or none, is routed again by Serve itself). The third raises ModelsUnavailable, which costs the task one of its
    `pipeline.max_attempts`. A picture that kills on sight thus kills 3 x max_attempts replicas and no more. Tasks that shared a replica
    with it are as suspect as it is; so that it does not take them along each time, calls of suspects are made one at a time.
    """

    def __init__(self, models: RemoteModels) -> None:
        self._models = models
        self._deaths = 0

    async def detect(self, pictures: Sequence[tuple[Frame, ...]]) -> list[Faces | FaceError]:
        outcomes: list[Faces | FaceError] = await self.call(self._models.detector, "detect", list(pictures))
        return outcomes

    async def identify(self, faces: Sequence[FaceSquare]) -> list[Floats | FaceError]:
        outcomes: list[Floats | FaceError] = await self.call(self._models.detector, "identify", list(faces))
        return outcomes

    async def swap(self, items: Sequence[SwapItem]) -> list[Patch | FaceError]:
        outcomes: list[Patch | FaceError] = await self.call(self._models.swapper, "swap", list(items))
        return outcomes

    async def call(self, handle: DeploymentHandle[Any], method: str, *arguments: list[Any]) -> Any:
        """Raises ModelsUnavailable."""
        for pause in pauses(FIRST_PAUSE_S, MOST_PAUSE_S):
            try:
                if not self._deaths:
                    return await ask(handle, method, *arguments)
                async with self._models.alone:
                    return await ask(handle, method, *arguments)
            except DIED as error:
                self._deaths += 1
                name = f"{handle.deployment_name}.{method}"
                logger.info("a replica died under %s (%s), death %d of this attempt", name, type(error).__name__, self._deaths)
                if self._deaths >= MOST_DEATHS:
                    raise ModelsUnavailable(f"{self._deaths} replicas died under it, the last one in {name}") from None
            except REFUSED as error:
                logger.debug("%s.%s was refused (%s)", handle.deployment_name, method, type(error).__name__)
            await asyncio.sleep(pause)


async def ask(handle: DeploymentHandle[Any], method: str, *arguments: Any) -> Any:
    """The answer to one call, which is cancelled where its caller is."""
    response = getattr(handle, method).remote(*arguments)
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()  # Serve cancels the calls of a request that is cancelled, not those of a part of one
        raise
