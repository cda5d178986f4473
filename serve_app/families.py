"""Model families: which engines find, describe and make a face. Chosen by `settings.family`."""

from __future__ import annotations

from typing import Any, TypeAlias

from serve_app.engines.builtin import MeshSwapEngine
from serve_app.engines.centerface import CenterFaceEngine
from serve_app.engines.facemesh import FaceMeshEngine
from serve_app.engines.fake import FakeDetector, FakeMesh, FakeSwap
from serve_app.engines.protocol import Engine
from serve_app.engines.runtimes import check_twins
from serve_app.engines.weights import CENTERFACE, FACEMESH, load_topology
from serve_app.settings import Settings
from serve_app.vision.face import Faces, FaceSquare, Floats, Patch, Pixels, SwapItem

Detect: TypeAlias = Engine[Pixels, Any, Any, Faces]
Identify: TypeAlias = Engine[FaceSquare, Any, Any, Floats]
Swap: TypeAlias = Engine[SwapItem, Any, Any, Patch]


def detector_engines(settings: Settings) -> tuple[Detect, Identify]:
    """Warmed-up engines of FaceDetector. Raises RuntimeError when a model file or runtime is not what it should be."""
    check_twins()
    if settings.family == "fake":
        return FakeDetector(**settings.fake.model_dump()), FakeMesh(**settings.fake.model_dump())
    folder, detector = settings.models_dir / "builtin", settings.detector
    detect = CenterFaceEngine(
        folder / CENTERFACE,
        side=detector.frame,
        precision=settings.precision,
        threads=detector.threads,
        slots=detector.slots,
        min_score=detector.min_score,
    )
    identify = FaceMeshEngine(folder / FACEMESH, precision=settings.precision, threads=detector.threads, slots=detector.slots)
    for engine in (detect, identify):
        engine.warm_up()
    return detect, identify


def swapper_engine(settings: Settings) -> Swap:
    """The warmed-up engine of FaceSwapper. Raises RuntimeError as above."""
    if settings.family == "fake":
        return FakeSwap(**settings.fake.model_dump())
    engine = MeshSwapEngine(load_topology(settings.models_dir / "builtin"), slots=settings.swapper.slots)
    engine.warm_up()
    return engine
