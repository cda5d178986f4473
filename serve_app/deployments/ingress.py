"""Ingress: the HTTP contract, and the loops that live with it (dispatcher, recovery, callbacks)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from serve_app.api.app import ApiConfig, create_app
from serve_app.api.schema import task_json
from serve_app.deployments import logs
from serve_app.deployments.dispatcher import Dispatcher
from serve_app.engines.runtimes import versions
from serve_app.settings import Secrets, Settings
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import open_database
from serve_app.tasks.delivery import Courier
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import Task

logger = logging.getLogger(__name__)

HEALTH_TIMEOUT_S = 5.0


@serve.ingress()
class Ingress:
    def __init__(
        self, settings: Settings, pipeline: DeploymentHandle[Any], detector: DeploymentHandle[Any], swapper: DeploymentHandle[Any]
    ) -> None:
        logs.to_serve()
        self._settings = settings
        self._secrets = Secrets()
        self._detector, self._swapper = detector, swapper
        database = open_database(settings.database)
        self._blobs = BlobStore(settings.blobs)
        self._store = TaskStore(database, self._blobs, max_attempts=settings.pipeline.max_attempts)
        self._courier = Courier(Outbox(database), render=self._render, concurrency=settings.ingress.callbacks_in_flight)
        self._dispatcher = Dispatcher(pipeline.run_next.remote, limit=settings.ingress.max_dispatched, finished=self._courier.wake)
        self._engines: dict[str, dict[str, str]] = {}

    def __serve_build_asgi_app__(self) -> Starlette:
        limits, secret = self._settings.limits, self._secrets.secret
        config = ApiConfig(
            secret=secret.get_secret_value() if secret else None,
            notify_hook=self._secrets.notify_hook,
            public_url=self._secrets.public_url,
            limits=limits,
        )
        return create_app(self._store, self._blobs, config, on_accepted=self._accepted, health=self._health, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        loops = [asyncio.create_task(loop) for loop in (self._dispatcher.run(), self._recover())]
        await self._courier.start()
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._courier.stop()

    async def _recover(self) -> None:
        """Waiting rows and expired leases are worked on even if the replica that accepted or claimed them is gone."""
        while True:
            try:
                await self._store.take_expired(self._settings.ingress.max_dispatched)
                self._dispatcher.cover(await self._store.count_waiting())
            except Exception:
                logger.exception("recovery failed; trying again")
            await asyncio.sleep(self._settings.ingress.recovery_period_s * random.uniform(0.8, 1.2))

    def _accepted(self, task: Task) -> None:
        self._dispatcher.offer()

    def _render(self, task: Task) -> dict[str, object]:
        return task_json(task, self._secrets.public_url)

    async def _health(self) -> dict[str, object]:
        """Always an answer: a model that does not answer in time is said to be so."""
        status = "ok"
        if not self._engines:
            try:
                async with asyncio.timeout(HEALTH_TIMEOUT_S):
                    detector, swapper = await asyncio.gather(self._detector.info.remote(), self._swapper.info.remote())
                self._engines = {**detector, **swapper}
            except Exception as error:
                logger.warning("the models do not answer: %s", type(error).__name__)
                status = "the models do not answer"
        return {
            "status": status,
            "family": self._settings.family,
            "precision": self._settings.precision,
            "engines": self._engines,
            "versions": versions(),
        }
