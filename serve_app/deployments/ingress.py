"""Ingress: the HTTP contract, and the loops that live with it (dispatcher, recovery, callbacks)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from serve_app.api.app import ApiConfig, Service, create_app
from serve_app.api.schema import task_json
from serve_app.api.watch import Watch
from serve_app.deployments import environment, live, logs
from serve_app.deployments.dispatcher import Dispatcher
from serve_app.deployments.gauges import Gauges
from serve_app.deployments.recorder import recorder
from serve_app.deployments.recovery import Recovery, every, meanwhile
from serve_app.deployments.remote import ask
from serve_app.deployments.spares import Spares
from serve_app.egress import resolver
from serve_app.egress.address import AddressPolicy
from serve_app.egress.client import Egress
from serve_app.engines.runtimes import versions
from serve_app.metrics import BUILD
from serve_app.secrets import Secrets, blobs_of, database_of
from serve_app.settings import CurrentLimits, CurrentRates, Settings, change
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.clock import clock_of
from serve_app.tasks.database import open_database
from serve_app.tasks.delivery import Courier
from serve_app.tasks.hooks import Hooks
from serve_app.tasks.keys import KeyRing
from serve_app.tasks.lanes import affordable
from serve_app.tasks.orphans import Orphans
from serve_app.tasks.outbox import Outbox
from serve_app.tasks.retention import Retention
from serve_app.tasks.room import Bounds
from serve_app.tasks.shared import Shared
from serve_app.tasks.signing import Signer
from serve_app.tasks.store import TaskStore
from serve_app.tasks.sweep import Sweep
from serve_app.tasks.task import Task

logger = logging.getLogger(__name__)

HEALTH_TIMEOUT_S = 5.0
HEALTH_FRESH_MS = 10_000
SPARES_PERIOD_S = 2.0


@serve.ingress()
class Ingress:
    def __init__(
        self, settings: Settings, pipeline: DeploymentHandle[Any], detector: DeploymentHandle[Any], swapper: DeploymentHandle[Any]
    ) -> None:
        logs.to_serve()
        environment.complain()
        self._settings = settings
        # What all who read them have, changed in place.
        self._limits, self._rates = CurrentLimits(**dict(settings.limits)), CurrentRates(**dict(settings.rates))
        self._secrets = Secrets()
        self._pipeline, self._detector, self._swapper = pipeline, detector, swapper
        self._record = record = recorder()
        database = open_database(database_of(settings, self._secrets))
        self._clock = clock = clock_of(database)
        self._blobs = BlobStore(blobs_of(settings, self._secrets), make=False)
        self._store = TaskStore(
            database,
            self._blobs,
            clock=clock,
            max_attempts=settings.pipeline.max_attempts,
            deadline_s=settings.limits.deadline_s,
            bounds=Bounds(settings.limits.max_unfinished, settings.limits.key_share),
            record=record,
        )
        results_days = settings.retention.results_days
        self._sweeping = Sweep(
            self._store,
            self._blobs,
            Retention(database, self._blobs, results_days=results_days, tasks_days=settings.retention.tasks_days, clock=clock),
            Orphans(self._store, self._blobs, results_days=results_days, clock=clock),
        )
        self._keys, self._owed = KeyRing(database), Hooks(database, clock=clock)
        self._gauges = Gauges(self._store, self._owed, clock, record, _is_first)
        self._spares = Spares(settings.ingress.spare_processes, _is_first)
        # Two, so that hooks whose names nobody resolves are never in the way of pictures.
        policy = AddressPolicy(settings.egress.allow_private)
        places = affordable(settings.ingress.callbacks_in_flight)
        self._hooks, self._pictures = Egress(policy, connections=places.total, lookups=resolver.affordable(places.total)), Egress(policy)
        hook_secret = self._secrets.hook_secret
        self._courier = Courier(
            Outbox(database, clock=clock),
            self._render,
            self._hooks,
            sign=Signer(self._keys, hook_secret.get_secret_value() if hook_secret else None, self._secrets.notify_hook),
            places=places,
            timeout_s=settings.egress.hook_timeout_s,
            clock=clock,
            record=record,
        )
        self._watch = Watch(self._store)
        self._dispatcher = Dispatcher(
            pipeline.run_next.remote, limit=settings.ingress.max_dispatched, finished=self._finished, lost=self._lost
        )
        self._recovery = Recovery(
            self._store,
            self._blobs,
            cover=self._dispatcher.cover,
            ended=self._courier.wake,
            limit=settings.ingress.max_dispatched,
            settle_s=settings.pipeline.lease_s,  # as if all had been renewed when it came back
        )
        self._health = Shared(self._look_at_health, HEALTH_FRESH_MS, lambda: time.monotonic_ns() // 1_000_000)
        here = versions()
        record(BUILD, version=here.get("faceswap-serve", ""), family=settings.family, ray=here.get("ray", ""), python=here["python"])

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Ray Serve calls this with the deployment's `user_config`, at the start and when it changes."""
        settings = live.changed("Ingress", self._settings, user_config)
        change(self._limits, settings.limits)
        change(self._rates, settings.rates)
        self._store.bound(settings.limits.deadline_s, Bounds(settings.limits.max_unfinished, settings.limits.key_share))
        self._dispatcher.limit = self._recovery.limit = settings.ingress.max_dispatched

    def __serve_build_asgi_app__(self) -> Starlette:
        settings, secret = self._settings, self._secrets.secret
        config = ApiConfig(
            secret=secret.get_secret_value() if secret else None,
            notify_hook=self._secrets.notify_hook,
            public_url=self._secrets.public_url,
            limits=self._limits,
            rates=self._rates,
            trusted_proxies=settings.trusted_proxies,
            instances=settings.instances,
            picture_timeout_s=settings.egress.picture_timeout_s,
            allow_open=settings.allow_open,
            compares_people=settings.family == "insightface",
            reply_request_id=False,  # Ray's proxy does
        )
        service = Service(
            self._store,
            self._blobs,
            self._keys,
            self._pictures,
            config,
            self._accepted,
            self._health.get,
            self._owed,
            self._detect,
            self._watch,
            self._record,
        )
        return create_app(service, self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        periods = self._settings.ingress
        works = (
            self._dispatcher.run(),
            every(periods.recovery_period_s, "recovery", self._recovery.look),
            every(periods.sweep_period_s, "the sweep", self._sweep),
            every(periods.gauges_period_s, "the gauges", self._gauges.look),
            every(SPARES_PERIOD_S, "spare processes", self._spares.look),
        )
        await self._hooks.start()
        await self._pictures.start()
        await self._courier.start()
        try:
            async with meanwhile(*works):
                yield
        finally:
            await self._courier.stop()
            await self._hooks.close()
            await self._pictures.close()

    def _finished(self) -> None:
        self._courier.wake()
        self._watch.wake()

    async def _lost(self, ticket: str) -> None:
        await self._recovery.lost(ticket)

    async def _sweep(self) -> None:
        if deleted := await self._sweeping.run():
            logger.info("deleted: %s", ", ".join(f"{number} {name}" for name, number in deleted.items()))

    async def _detect(self, data: bytes) -> dict[str, object]:
        found: dict[str, object] = await ask(self._pipeline, "detect", data)
        return found

    def _accepted(self, task: Task) -> None:
        self._dispatcher.offer()

    def _render(self, task: Task) -> dict[str, object]:
        return task_json(task, self._secrets.public_url)

    async def _look_at_health(self) -> dict[str, object]:
        """Always an answer; models that give none within HEALTH_TIMEOUT_S are said not to."""
        engines, hooks = await asyncio.gather(self._ask_engines(), self._count_hooks())
        return {
            "status": "ok" if engines else "the models do not answer",
            "family": self._settings.family,
            "runtime": {name: engine["runtime"] for name, engine in engines.items()},
            "precision": self._settings.precision,
            "engines": engines,
            "hooks": hooks,
            "versions": versions(),
        }

    async def _ask_engines(self) -> dict[str, dict[str, str]]:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                detector, swapper = await asyncio.gather(self._detector.info.remote(), self._swapper.info.remote())
        except Exception as error:
            logger.warning("the models do not answer: %s", type(error).__name__)
            return {}
        return {**detector, **swapper}

    async def _count_hooks(self) -> dict[str, int | None]:
        """Callbacks that are owed, the age of the oldest in seconds, and how many were given up; nothing while the database is away."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                counts = await self._owed.counts()
        except Exception as error:
            logger.warning("callbacks cannot be counted: %s", type(error).__name__)
            return {}
        return {"pending": counts.pending, "oldest_s": counts.age_s(self._clock()), "dead": counts.dead}


def _is_first() -> bool:
    """Of the replicas of Ingress. Ranks are given again from 0 on when one of them dies."""
    rank = serve.get_replica_context().rank
    return rank is None or rank.rank == 0
