"""Model families: which engines find, describe and make a face. Chosen by `settings.family`."""

from __future__ import annotations

import logging
from typing import Any, TypeAlias

from serve_app.engines.arcface import ArcFaceEngine
from serve_app.engines.builtin import MeshSwapEngine
from serve_app.engines.catalog import require_insightface
from serve_app.engines.centerface import CenterFaceEngine
from serve_app.engines.cuda import CUDA
from serve_app.engines.facemesh import FaceMeshEngine
from serve_app.engines.fake import Device, FakeDetector, FakeMesh, FakeSwap
from serve_app.engines.framed import Framed
from serve_app.engines.inswapper import InSwapperEngine
from serve_app.engines.protocol import Engine
from serve_app.engines.runtimes import check_twins
from serve_app.engines.scrfd import SCRFDEngine
from serve_app.engines.session import CPU
from serve_app.engines.weights import CENTERFACE, FACEMESH, load_topology
from serve_app.settings import DetectorSettings, FakeSettings, Settings, SwapperSettings
from serve_app.vision.face import Faces, FaceSquare, Floats, Frame, Patch, SwapItem
from serve_app.vision.steps import Steps

logger = logging.getLogger(__name__)

Detect: TypeAlias = Engine[tuple[Frame, ...], Any, Any, Faces]
Identify: TypeAlias = Engine[FaceSquare, Any, Any, Floats]
Swap: TypeAlias = Engine[SwapItem, Any, Any, Patch]


def resolve(settings: Settings) -> Settings:
    """The same settings with `auto` decided: insightface when all its files are there and right, else builtin. Says which in the log.

    Raises RuntimeError that names every missing or wrong file when insightface was asked for by name.
    """
    if settings.family not in ("auto", "insightface"):
        return settings
    try:
        require_insightface(settings.models_dir)
    except RuntimeError as error:
        if settings.family == "insightface":
            raise
        none = not any(settings.models_dir.glob("*.onnx"))
        why = f"no InsightFace models in {settings.models_dir}" if none else " ".join(str(error).split())
        logger.info("model family: builtin (%s)", why)
        return settings.model_copy(update={"family": "builtin"})
    logger.info("model family: insightface (its files are in %s)", settings.models_dir)
    return settings.model_copy(update={"family": "insightface"})


def detector_engines(settings: Settings) -> tuple[Detect, Identify]:
    """Warmed-up engines of FaceDetector. Raises RuntimeError when a model file or runtime is not what it should be."""
    check_twins()
    engines = {"builtin": _builtin_detector, "insightface": _insightface_detector, "fake": _fake_detector}[settings.family](settings)
    for engine in engines:
        engine.warm_up()
        logger.info("engine ready: %s", engine.info())
    return engines


def swapper_engine(settings: Settings) -> Swap:
    """The warmed-up engine of FaceSwapper. Raises RuntimeError as above."""
    check_twins()
    engine = {"builtin": _builtin_swapper, "insightface": _insightface_swapper, "fake": _fake_swapper}[settings.family](settings)
    engine.warm_up()
    logger.info("engine ready: %s", engine.info())
    return engine


def _builtin_detector(settings: Settings) -> tuple[Detect, Identify]:
    folder, detector = settings.models_dir / "builtin", settings.detector
    runs: dict[str, Any] = {"precision": settings.precision, "threads": detector.threads, "slots": detector.slots}
    detect = CenterFaceEngine(folder / CENTERFACE, side=max(detector.sizes), min_score=detector.min_score, **runs)
    return Framed(detect), FaceMeshEngine(folder / FACEMESH, **runs)


def _builtin_swapper(settings: Settings) -> Swap:
    swapper = settings.swapper
    return MeshSwapEngine(load_topology(settings.models_dir / "builtin"), slots=swapper.slots, steps=Steps(**swapper.builtin.model_dump()))


def _insightface_detector(settings: Settings) -> tuple[Detect, Identify]:
    files, detector = require_insightface(settings.models_dir), settings.detector
    runs = {**_runs(settings, detector), "slots": detector.slots}
    detect = SCRFDEngine(files["detector"], sizes=detector.sizes, min_score=detector.min_score, **runs)
    return detect, ArcFaceEngine(files["recogniser"], **runs)


def _insightface_swapper(settings: Settings) -> Swap:
    files = require_insightface(settings.models_dir)
    return InSwapperEngine(files["swapper"], slots=settings.swapper.slots, **_runs(settings, settings.swapper))


def _fake_detector(settings: Settings) -> tuple[Detect, Identify]:
    device = _device(settings.fake)
    detect, identify = (device if model in settings.fake.costly else None for model in ("detect", "identify"))
    return Framed(FakeDetector(detect, buckets=settings.fake.buckets)), FakeMesh(identify, buckets=settings.fake.buckets)


def _fake_swapper(settings: Settings) -> Swap:
    return FakeSwap(_device(settings.fake) if "swap" in settings.fake.costly else None, buckets=settings.fake.buckets)


def _device(fake: FakeSettings) -> Device:
    return Device(fake.seconds, fake.seconds_per_item, fake.journal)


def _runs(settings: Settings, group: DetectorSettings | SwapperSettings) -> dict[str, Any]:
    """How models of the insightface family are run."""
    provider = CUDA if settings.provider == "cuda" else CPU
    return {"precision": settings.precision, "threads": group.threads, "buckets": group.buckets, "provider": provider}
