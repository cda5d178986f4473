"""The whole graph on one screen.

    HTTP -> Ingress -> (dispatcher) -> SwapPipeline -> FaceDetector.detect, .identify
                                                    -> FaceSwapper.swap

Ingress accepts a task into the database and tells a pipeline that there is work; the pipeline claims the best waiting
task, decodes, asks the two model deployments, pastes and encodes. Each of the four scales on its own.
"""

# No `from __future__ import annotations` here: Ray reads the type of build()'s argument to validate `args`.

from pathlib import Path
from typing import Any, cast

from ray import serve
from ray.serve import Application, Deployment

from serve_app.deployments import nodes
from serve_app.deployments.detector import FaceDetector
from serve_app.deployments.ingress import Ingress
from serve_app.deployments.pipeline import SwapPipeline
from serve_app.deployments.swapper import FaceSwapper
from serve_app.deployments.unfit import refuse_unfit
from serve_app.families import resolve
from serve_app.secrets import Secrets, blobs_of, database_of
from serve_app.settings import Settings
from serve_app.tasks.blobs import folder_of
from serve_app.tasks.database import is_sqlite
from serve_app.tasks.migrate import migrate

HEALTH_CHECK_S = 3.0  # Serve replaces a replica after three that failed


def build(settings: Settings) -> Application:
    """The application of config/local.yaml; its `args` are `settings`. Brings the database to this release's tables."""
    settings = resolve(settings.absolute(Path.cwd()))
    secrets = Secrets()
    database, blobs = database_of(settings, secrets), blobs_of(settings, secrets)
    nodes.refuse_spread(nodes.usable(), database, blobs)
    if is_sqlite(database) or folder_of(blobs):
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # other people's pictures
    refuse_unfit(blobs)
    migrate(database)
    return graph(settings)


def graph(settings: Settings) -> Application:
    """The deployments and who calls whom; nothing is started or made."""
    detector = deployment(FaceDetector).bind(settings)
    swapper = deployment(FaceSwapper).bind(settings)
    pipeline = deployment(SwapPipeline).bind(settings, detector, swapper)
    return deployment(Ingress).bind(settings, pipeline, detector, swapper)


def deployment(cls: type[Any]) -> Deployment:
    """`serve.deployment`, whose own annotation is wrong for a bare class. Replicas, CPUs and limits stand in the Serve config file."""
    return cast(Deployment, serve.deployment(cls, health_check_period_s=HEALTH_CHECK_S))
