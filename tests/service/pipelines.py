"""Single deployments of the graph on the session's cluster, without Ingress: the test submits, dispatches and looks into the table."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from serve_app.app import deployment
from serve_app.deployments.detector import FaceDetector
from serve_app.deployments.pipeline import SwapPipeline
from serve_app.deployments.swapper import FaceSwapper
from serve_app.settings import FakeSettings, PipelineSettings, Settings
from serve_app.tasks.blobs import BlobStore
from serve_app.tasks.database import open_database
from serve_app.tasks.migrate import migrate
from serve_app.tasks.store import TaskStore
from serve_app.tasks.task import NewTask, Status, Task
from tests.pictures import ASTRONAUT, HANKS

LIGHT: dict[str, Any] = {
    "num_replicas": 1,
    "ray_actor_options": {"num_cpus": 0.01},
    "graceful_shutdown_wait_loop_s": 0.1,
    "graceful_shutdown_timeout_s": 5,
}


class Site:
    """Tables and pictures in `folder`, and the handles of what works on them."""

    def __init__(self, folder: Path, detector: DeploymentHandle[Any], swapper: DeploymentHandle[Any], pipelines: list[Any]) -> None:
        self.folder = folder
        self.detector, self.swapper, self.pipelines = detector, swapper, pipelines
        self.blobs = BlobStore(folder / "blobs")
        self.database = open_database(folder / "tasks.db")
        self.store = TaskStore(self.database, self.blobs)

    async def submit(self, deadline_s: float = 280.0, owner: str = "") -> Task:
        write = partial(self.blobs.put_inputs, source=HANKS.read_bytes(), target=ASTRONAUT.read_bytes())
        store = TaskStore(self.database, self.blobs, deadline_s=deadline_s)
        return await store.submit(NewTask(None, None, None, None, "http://b", owner), write)

    def run_next(self, ticket: str, pipeline: int = 0) -> asyncio.Task[bool]:
        async def call() -> bool:
            return bool(await self.pipelines[pipeline].run_next.remote(ticket))

        return asyncio.create_task(call())

    async def state(self, task: Task) -> Task:
        found = await self.store.get(task.id)
        assert found is not None
        return found

    async def reaches(self, task: Task, status: Status) -> None:
        while (await self.state(task)).status.rank < status.rank:
            await asyncio.sleep(0.01)

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "blobs").rglob("[!.]*") if path.is_file())


@contextlib.asynccontextmanager
async def site(
    folder: Path,
    *,
    name: str = "pipeline",
    slow: str = "FaceSwapper",
    batch_s: float = 0,
    pipelines: int = 1,
    models: dict[str, Any] | None = None,
    swapper: type[FaceSwapper] = FaceSwapper,
    pipeline: type[SwapPipeline] = SwapPipeline,
    **settings: float,
) -> AsyncIterator[Site]:
    """slow: the models whose batches take batch_s. models: options of their deployments, LIGHT where there are none. swapper, pipeline:
    what is deployed for them.
    settings: of the pipelines, which are applications `name-0` and so on.

    Serve must be running (fixture `client`).
    """
    common = Settings(family="fake", data_dir=folder, pipeline=PipelineSettings.model_validate(settings))
    migrate(common.database)
    costly = common.model_copy(update={"fake": FakeSettings(seconds=batch_s)})
    options = LIGHT if models is None else models
    classes = (FaceDetector, swapper)
    bound = [deployment(cls).options(**options).bind(costly if cls.__name__ == slow else common) for cls in classes]
    names = [f"{name}-{number}" for number in range(pipelines)]
    try:
        handles = [await _run(names[0], deployment(pipeline).options(**LIGHT).bind(common, *bound))]
        finds, makes = (serve.get_deployment_handle(cls.__name__, names[0]) for cls in classes)
        for name in names[1:]:
            handles.append(await _run(name, deployment(pipeline).options(**LIGHT).bind(common, finds, makes)))
        here = Site(folder, finds, makes, handles)
        yield here
        await here.database.close()
    finally:
        for name in names[::-1]:
            await asyncio.to_thread(serve.delete, name)


def _run(name: str, application: Any) -> Awaitable[Any]:
    return asyncio.to_thread(serve.run, application, name=name, route_prefix=None)


async def items(models: DeploymentHandle[Any], engine: str) -> int:
    """How many items a fake engine has been given."""
    return int((await models.info.remote())[engine]["items"])


def process_of(pipeline: int, deployment: str = "SwapPipeline", name: str = "pipeline") -> int:
    return process(f"ray::ServeReplica:{name}-{pipeline}:{deployment}")


def process(title: str) -> int:
    """The process of this session whose command line begins so."""
    (pid,) = processes(title)
    return pid


def processes(title: str) -> list[int]:
    folders = [folder for folder in Path("/proc").glob("[0-9]*") if _title(folder).startswith(title)]
    return [pid for pid in map(int, (folder.name for folder in folders)) if os.getsid(pid) == os.getsid(0)]


def log_of(pipeline: int, name: str = "pipeline") -> str:
    """What the replicas of a pipeline have logged."""
    node: Any = ray._private.worker._global_node
    folder = Path(node.get_session_dir_path()) / "logs" / "serve"
    return "".join(path.read_text() for path in folder.glob(f"replica_{name}-{pipeline}_SwapPipeline_*.log"))


def _title(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_text()
    except OSError:
        return ""
